SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE TYPE public.studydirection AS ENUM (
    'NOT_SET',
    'MINIMIZE',
    'MAXIMIZE'
);
CREATE TYPE public.trialintermediatevaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG',
    'NAN'
);
CREATE TYPE public.trialstate AS ENUM (
    'RUNNING',
    'COMPLETE',
    'PRUNED',
    'FAIL',
    'WAITING'
);
CREATE TYPE public.trialvaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG'
);
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.selection_alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.selection_baseline (
    study_uuid character varying(36) NOT NULL,
    name character varying(32) NOT NULL,
    repeat integer NOT NULL,
    fold integer NOT NULL,
    row_hash character varying(64) NOT NULL,
    score double precision NOT NULL,
    note text NOT NULL,
    outputs_columns integer NOT NULL,
    outputs bytea NOT NULL
);
CREATE TABLE public.selection_fold (
    trial_uuid character varying(36) NOT NULL,
    repeat integer NOT NULL,
    fold integer NOT NULL,
    attempt integer NOT NULL,
    score double precision,
    train_score double precision,
    row_hash character varying(64) NOT NULL,
    curve bytea NOT NULL,
    outputs_rows integer,
    outputs_columns integer,
    outputs bytea
);
CREATE TABLE public.selection_lease (
    study_uuid character varying(36) NOT NULL,
    cohort integer NOT NULL,
    worker character varying(36) NOT NULL,
    place character varying(255) NOT NULL,
    home character varying(255) NOT NULL,
    attempt integer NOT NULL,
    lost integer NOT NULL,
    expires_at timestamp without time zone NOT NULL,
    trials integer NOT NULL,
    members integer NOT NULL,
    epoch integer NOT NULL,
    epochs integer NOT NULL
);
CREATE TABLE public.selection_ledger (
    data_fingerprint character varying(128) NOT NULL,
    held_out_fingerprint character varying(128) NOT NULL,
    study_uuid character varying(36) NOT NULL,
    evaluation integer NOT NULL,
    study_name character varying(512) NOT NULL,
    number integer NOT NULL,
    rule character varying(32) NOT NULL,
    reason text NOT NULL,
    state character varying(16) NOT NULL,
    claimed_at timestamp without time zone NOT NULL,
    evaluated_at timestamp without time zone,
    result_json text,
    outputs_columns integer,
    outputs bytea
);
CREATE TABLE public.selection_model (
    study_uuid character varying(36) NOT NULL,
    number integer NOT NULL,
    seed integer NOT NULL,
    document_json text NOT NULL,
    row_hash character varying(64) NOT NULL,
    weights bytea NOT NULL
);
CREATE TABLE public.selection_nested (
    study_uuid character varying(36) NOT NULL,
    fold integer NOT NULL,
    row_hash character varying(64) NOT NULL,
    number integer NOT NULL,
    params_json text NOT NULL,
    inner_score double precision NOT NULL,
    score double precision NOT NULL
);
CREATE TABLE public.selection_rows (
    study_uuid character varying(36) NOT NULL,
    row_hash character varying(64) NOT NULL,
    targets bytea NOT NULL,
    folds bytea NOT NULL,
    row_groups bytea
);
CREATE TABLE public.selection_study (
    uuid character varying(36) NOT NULL,
    optuna_study_id integer NOT NULL,
    spec_json text NOT NULL,
    spec_fingerprint character varying(128) NOT NULL,
    data_fingerprint character varying(128) NOT NULL,
    held_out_fingerprint character varying(128),
    facts_json text NOT NULL,
    environment_json text NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.selection_trial (
    uuid character varying(36) NOT NULL,
    study_uuid character varying(36) NOT NULL,
    optuna_trial_id integer NOT NULL,
    number integer NOT NULL,
    cohort integer NOT NULL,
    attempt integer NOT NULL,
    reason text NOT NULL,
    epochs integer NOT NULL,
    seconds double precision
);
CREATE TABLE public.studies (
    study_id integer NOT NULL,
    study_name character varying(512) NOT NULL
);
CREATE SEQUENCE public.studies_study_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.studies_study_id_seq OWNED BY public.studies.study_id;
CREATE TABLE public.study_directions (
    study_direction_id integer NOT NULL,
    direction public.studydirection NOT NULL,
    study_id integer NOT NULL,
    objective integer NOT NULL
);
CREATE SEQUENCE public.study_directions_study_direction_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_directions_study_direction_id_seq OWNED BY public.study_directions.study_direction_id;
CREATE TABLE public.study_system_attributes (
    study_system_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_system_attributes_study_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_system_attributes_study_system_attribute_id_seq OWNED BY public.study_system_attributes.study_system_attribute_id;
CREATE TABLE public.study_user_attributes (
    study_user_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_user_attributes_study_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_user_attributes_study_user_attribute_id_seq OWNED BY public.study_user_attributes.study_user_attribute_id;
CREATE TABLE public.trial_heartbeats (
    trial_heartbeat_id integer NOT NULL,
    trial_id integer NOT NULL,
    heartbeat timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq OWNED BY public.trial_heartbeats.trial_heartbeat_id;
CREATE TABLE public.trial_intermediate_values (
    trial_intermediate_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    step integer NOT NULL,
    intermediate_value double precision,
    intermediate_value_type public.trialintermediatevaluetype NOT NULL
);
CREATE SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq OWNED BY public.trial_intermediate_values.trial_intermediate_value_id;
CREATE TABLE public.trial_params (
    param_id integer NOT NULL,
    trial_id integer,
    param_name character varying(512),
    param_value double precision,
    distribution_json text
);
CREATE SEQUENCE public.trial_params_param_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_params_param_id_seq OWNED BY public.trial_params.param_id;
CREATE TABLE public.trial_system_attributes (
    trial_system_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq OWNED BY public.trial_system_attributes.trial_system_attribute_id;
CREATE TABLE public.trial_user_attributes (
    trial_user_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq OWNED BY public.trial_user_attributes.trial_user_attribute_id;
CREATE TABLE public.trial_values (
    trial_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    objective integer NOT NULL,
    value double precision,
    value_type public.trialvaluetype NOT NULL
);
CREATE SEQUENCE public.trial_values_trial_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_values_trial_value_id_seq OWNED BY public.trial_values.trial_value_id;
CREATE TABLE public.trials (
    trial_id integer NOT NULL,
    number integer,
    study_id integer,
    state public.trialstate NOT NULL,
    datetime_start timestamp without time zone,
    datetime_complete timestamp without time zone
);
CREATE SEQUENCE public.trials_trial_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trials_trial_id_seq OWNED BY public.trials.trial_id;
CREATE TABLE public.version_info (
    version_info_id integer NOT NULL,
    schema_version integer,
    library_version character varying(256),
    CONSTRAINT version_info_version_info_id_check CHECK ((version_info_id = 1))
);
ALTER TABLE ONLY public.studies ALTER COLUMN study_id SET DEFAULT nextval('public.studies_study_id_seq'::regclass);
ALTER TABLE ONLY public.study_directions ALTER COLUMN study_direction_id SET DEFAULT nextval('public.study_directions_study_direction_id_seq'::regclass);
ALTER TABLE ONLY public.study_system_attributes ALTER COLUMN study_system_attribute_id SET DEFAULT nextval('public.study_system_attributes_study_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.study_user_attributes ALTER COLUMN study_user_attribute_id SET DEFAULT nextval('public.study_user_attributes_study_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_heartbeats ALTER COLUMN trial_heartbeat_id SET DEFAULT nextval('public.trial_heartbeats_trial_heartbeat_id_seq'::regclass);
ALTER TABLE ONLY public.trial_intermediate_values ALTER COLUMN trial_intermediate_value_id SET DEFAULT nextval('public.trial_intermediate_values_trial_intermediate_value_id_seq'::regclass);
ALTER TABLE ONLY public.trial_params ALTER COLUMN param_id SET DEFAULT nextval('public.trial_params_param_id_seq'::regclass);
ALTER TABLE ONLY public.trial_system_attributes ALTER COLUMN trial_system_attribute_id SET DEFAULT nextval('public.trial_system_attributes_trial_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_user_attributes ALTER COLUMN trial_user_attribute_id SET DEFAULT nextval('public.trial_user_attributes_trial_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_values ALTER COLUMN trial_value_id SET DEFAULT nextval('public.trial_values_trial_value_id_seq'::regclass);
ALTER TABLE ONLY public.trials ALTER COLUMN trial_id SET DEFAULT nextval('public.trials_trial_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('v3.2.0.a');
INSERT INTO public.selection_alembic_version VALUES ('0003');
INSERT INTO public.selection_fold VALUES ('028efd57-d44d-44bc-881b-7de29cf87345', 0, 0, 1, 0.675, 0.6375, '7f5e60a765cdd84cf81a7ca7ddd6a3845b6ad199f87f82a8f897452983448d8e', '\x00000007fd8df23fcdccccccccccd03f666666b091b0f13f000000000000dc3f00000004027cf13fcdcccccccccce03f333333ab526ef13f333333333333df3f333333e76eb1f03f333333333333e33fcdcccc6cab83f03f000000000000e43fcdcccc8c9678f03f9a9999999999e33f66666602c58def3f666666666666e43f333333039031ef3f9a9999999999e53f', 40, 3, '\xaf59b93eb703dcbd785e27bdf2b0f73e29a6403d9ce26dbe7e0a733e86140fbe18a6613d05c5e33ebe5763bc04371fbe34a2c93ead5eacbdff5292bd8f7eac3e613addbdb05e83bce0f1603e681a43beab81bb3d3059df3e1d7f5cbd8bed0bbe93ccb33e58b3afbd70bed5bc3c47b03e2cf1f1bd50a53abc87f4ee3e94329f3cb9cb48be6df2c03e682a80bd057980bd6a0f023f9a1f873d8ea888be0019c73e6aaf91bdcee392bd0e2e193e295f97bdc634173eb4312d3dac0183bd5329b43e2dfc9d3e58d6d63d40253cbe5693603d41b7873d3dcfd43ec3f03e3dafcd83bdd0b3943e4035263e2cd0b5bdb56b143efd99d43d73d2babdd60e493e89c3973c02bfbfbdd84fa03efe53753dc10a9d3c791ec83ee5aa863d9c80f9bcbc06963eedca613ea88a32bd3d586a3d8cba973d4d2ea0bd3f8c953e52d52a3eb2d7acbd8264193eb946303ebc7f713e5201113f8831e93d62ac083e64df063f3263813d8535b03d1317ed3ef817ed3c96074a3cd99ed83e0cb8323eb08b8b3e32e8153fc107b63daac22c3ddb14e43e002ac03bf06b0abdcf79bb3e5448053dd06d913c5e5adc3ed9060b3e54ad073e1995f53ebddf7b3ef5cc373ed430073fd24bbebb56d718bdd8a1b53e449f513dbfc1943dc425ef3e7c272b3d280431bd6715a53e');
INSERT INTO public.selection_fold VALUES ('028efd57-d44d-44bc-881b-7de29cf87345', 0, 1, 1, 0.55, 0.575, '07575f797d14e4789948bf6ca7650bfaf2ce8e1999072e51a9b45cba955c2229', '\x666666808bf5f23f9a9999999999d53f666666c8f714f23f9a9999999999d93f9a999905b320f23f000000000000d83f9a9999667ed8f13f333333333333db3f9a9999d6e922f13f333333333333df3f666666747431f13f000000000000e03f3333331e5ee9f03f666666666666e03fcdcccc32c638f03f666666666666e23f9a99998bfe46f03f9a9999999999e13f', 40, 3, '\x18f5c1bd4b3e32bf3fd111bf1a86683e656a2fbfeb9edbbeba25033d627f2dbfdfc708bff3ac2f3ef6e92ebf9ae2f1be6ae32d3de6062bbf70f707bf7eb906be402a30bf49f10fbf845e3a3df16a2bbf5891efbe98e10f3e488233bf551c00bfcc5d3f3ded5828bfac9c02bf4a5c6d3e0b7d2dbf5c74eabeb38751bebed02fbf2e7913bff1077d3e73b732bfc82be9be135c5e3ee42a30bf5512e2be0632bbbd7c1c0abf68cbf0bc7c8e3ebe52cc1cbffff032beccfe55bc90751dbf2c886cbd1a3ddabde6e4efbeacec9abe44d30d3c4e000bbff8f214be7a4d90bd798f02bf0e8697be9cb487bde1da0abfcf8b30be5ac310be740f33bfd02b003dda4a85bd4b250abf0a1d0dbe2251c1bc97de02bf2e1ba0bd1e5686be66561cbf96b1b0be283091bd6451fcbe720051be507633bbf261fabeab5b70bedc9f77bc19dd0dbfc85c0dbe4c6579be883bc8be1a43f93dca7333be3f7fd1be00c0b5381af0fabdde9bdcbea45c88be7c9c8cbdcc431bbfdfd30d3e320459bdb0e001bfd053be3cb4ce8ebd647ad7be90b1b5bd923db9be6cd7e9be6dfbca3e00b291bee04fb6be28f4143d46cdf6bcb887e4be0c6724bebe9785beaa67f8beca476d3ea8b0a1bddf4bf9be2074c1bd283181bee40eb4beb8dc473d74a0e9bdfa94e1be30fe0bbd');
INSERT INTO public.selection_fold VALUES ('028efd57-d44d-44bc-881b-7de29cf87345', 0, 2, 1, 0.925, 0.95, 'ebdcfe7d3e063c296d39ad0a33fc8a1445ad034ed0551d9c73174dd19c5b93ce', '\x9a9999259e0cf13f333333333333df3f333333cb8341ef3fcdcccccccccce83f3333331fbc27ef3f333333333333e73f666666485c59ee3f666666666666ea3f000000e2c7eaeb3f000000000000ee3f0000003c9a24ec3f9a9999999999ed3f0000003bea41eb3f000000000000ee3f333333aafd44e93f666666666666ee3f000000dec1c5e93f9a9999999999ed3f', 40, 3, '\xb063643fe1544b3e99ef1bbea826723f48f75b3e1db6e2bdeacc9d3faa090fbf022c4fbe2ee8863f00ce95be323d28be2282563fa00e813c13d59bbd5c9c653f22778d3ecf11b8bd934c823f80bc1fbd7b7af8bd2ffb963f38b7d2be90fa49be6e7b9e3f4000e5bead844fbe94fe673f2008063e143418be933f7c3f0016803c5f2decbd50e6833f105cffbd096721bea40d6b3f70d97f3d1ad109bea9b1943da255903ec426673e2800213d5a58b23e42c38f3e31277e3eb8ab1b3f97927e3c68c0c83ec4c5633f9094703ca61a8f3dd5fe9d3e2e0b6f3eb60a2cbec410913e83b1873e76d3ab3dc153ef3e5c115f3e48144f3dec94ee3eb7c87d3e1efe85bd1a64573e859b8d3e52fb713e6277403f3a8a833d40672cbe9c668e3e3cc6873e73241abda6f4a53e3e7d813ecce9ca3db85f053f88a84e3ea47417bca0d0923ca52b453e973525be7a7e603e2087983e815c22be746d4c3e6cbd9e3e47031abe830c503e9e58963e18f6083e192b1a3fff6f0b3e3941a3bd506d753eb0009c3e8bcaf7bdb670603e620c9a3ea7121bbe1470f63de405a53ec49f3ebdd267af3ef1d28e3e684282bdf0f29bbc5a339b3e7c20d23c24b39d3cd8c6213e973525be7a7e603e2087983e76b21fbd40f47b3c65f06e3e6c82973c7c01283d3fd71e3e');
INSERT INTO public.selection_fold VALUES ('ff3fe4b6-c784-4f68-b644-cac6cc770342', 0, 0, 1, 0.175, 0.175, 'eaf3aad969995610a808c7060bb78f306817785e4696fc2216da2b2fefce7acf', '\x00000006f3aaf33f333333333333b33f9a9999b91285f23f666666666666c63f666666e4f277f23f666666666666c63f', NULL, NULL, NULL);
INSERT INTO public.selection_fold VALUES ('ff3fe4b6-c784-4f68-b644-cac6cc770342', 0, 1, 1, 0.35, 0.325, '9afbe258c42bccbe1112d7744aec221a5a60cf12cea8945680da2e9203d46991', '\x000000f7eb3df33fcdccccccccccd43f9a99995feb47f23fcdccccccccccd43fcdcccce8211ff23f666666666666d63f', NULL, NULL, NULL);
INSERT INTO public.selection_fold VALUES ('ff3fe4b6-c784-4f68-b644-cac6cc770342', 0, 2, 1, 0.35, 0.3375, '55bee193e7c9fb903714f78281116980ee3359dc317851018b42efdb9e9736ca', '\x6666663271d3ee3f9a9999999999d53f9a991955e471ec3f9a9999999999d53f0000002c2eadec3f666666666666d63f', NULL, NULL, NULL);
INSERT INTO public.selection_lease VALUES ('a5e3003e-bcad-4daf-8727-9ccf74c9dce2', 1, 'c5f26598-da59-48df-bca4-aeb639b9d01c', 'host:1', '', 1, 0, '2020-01-01 00:00:00', 2, 0, 0, 0);
INSERT INTO public.selection_study VALUES ('a5e3003e-bcad-4daf-8727-9ccf74c9dce2', 1, '{"name": "stored", "seed": 0, "data": {"dataset": "iris", "path": null, "target": null, "drop": [], "categorical": [], "groups": null, "impute": null, "held_out": null, "prepare": "standardize"}, "cv": {"folds": 3, "repeats": 1, "kind": null}, "model": {"hidden_layers": null, "activation": "relu", "init": "default", "std": 0.01}, "training": {"optimizer": "sgd", "momentum": 0.0, "nesterov": false, "batch_size": 32, "epochs": 3, "precision": "float32"}, "space": {"width": {"low": 2, "high": 8}, "learning_rate": {"low": 0.05, "high": 1.0, "log": true}}, "search": {"metric": "accuracy", "sampler": "tpe", "pruner": "successive_halving", "pruner_options": {"min_resource": 1, "reduction_factor": 2}, "trials": 6, "cohort": 2, "timeout_seconds": 0.0, "max_retries": 3, "max_consecutive_failures": 20, "default": {}}, "selection": {"rule": "best"}, "assessment": {"level": 0.95, "bootstraps": 1000, "rope": null, "nested": false}, "final": {"model": "refit", "seeds": 1}, "provenance": null}', '6aee96e59ce8ad42c8eb8fd29a820ab1e560982edd17855ad5afee800a6435a3', '8dbf1cc9d1bdb74243a371393ab1236cd994e8197004425d8e8f3161d0c6ff2d', '50bfe8f2cf8a9257b740ce0834a45ab77c96376d78447d365972e81a41f05155', '{"rows": 120, "held_out_rows": 30, "features": 4, "inputs": 4, "outputs": 3, "class_counts": {"setosa": 40, "versicolor": 40, "virginica": 40}, "fold_kind": "stratified", "folds": ["34d9542c3d596eb20305a92c7690cb8a4620dc33e2542609a0a00a744357f48a", "3b9b66ed96818da191863a7cd1c1664e37c0e883a79f3e37b168822b9502847c", "25467713150277ed85e66c6d4b452e483cfd76652f860705606fc51131338d20"], "duplicate_rows": 0, "warnings": []}', '{"python": "3.11.7", "machine": "x86_64", "device": "cpu", "threads": 2, "versions": {"selection": "0.1.0", "torch": "2.15.0", "optuna": "5.0.0", "scikit-learn": "1.9.1", "numpy": "2.4.6"}}', '2026-11-25 11:08:56.42776');
INSERT INTO public.selection_trial VALUES ('028efd57-d44d-44bc-881b-7de29cf87345', 'a5e3003e-bcad-4daf-8727-9ccf74c9dce2', 1, 0, 0, 1, '', 3, 0.01451587700012169);
INSERT INTO public.selection_trial VALUES ('ff3fe4b6-c784-4f68-b644-cac6cc770342', 'a5e3003e-bcad-4daf-8727-9ccf74c9dce2', 2, 1, 0, 1, 'pruned after epoch 1', 1, 0.008419363999564666);
INSERT INTO public.selection_trial VALUES ('8ff36408-6635-4a78-ade6-e96e7685f704', 'a5e3003e-bcad-4daf-8727-9ccf74c9dce2', 3, 2, 1, 1, '', 0, NULL);
INSERT INTO public.selection_trial VALUES ('db7a1f0c-d0f3-4ea4-a3e0-db3d615f3592', 'a5e3003e-bcad-4daf-8727-9ccf74c9dce2', 4, 3, 1, 1, '', 0, NULL);
INSERT INTO public.studies VALUES (1, 'stored');
INSERT INTO public.study_directions VALUES (1, 'MAXIMIZE', 1, 0);
INSERT INTO public.study_user_attributes VALUES (1, 1, 'selection_uuid', '"a5e3003e-bcad-4daf-8727-9ccf74c9dce2"');
INSERT INTO public.trial_intermediate_values VALUES (1, 1, 1, 0.5416666666666666, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (2, 1, 2, 0.6833333333333332, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (3, 1, 3, 0.7166666666666668, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (4, 2, 1, 0.29166666666666663, 'FINITE');
INSERT INTO public.trial_params VALUES (1, 1, 'width', 8, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO public.trial_params VALUES (2, 1, 'learning_rate', 0.1, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO public.trial_params VALUES (3, 2, 'width', 3, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO public.trial_params VALUES (4, 2, 'learning_rate', 0.22906215875731153, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO public.trial_params VALUES (5, 3, 'width', 6, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO public.trial_params VALUES (6, 3, 'learning_rate', 0.10170835019431042, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO public.trial_params VALUES (7, 4, 'width', 5, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO public.trial_params VALUES (8, 4, 'learning_rate', 0.2708118734380073, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO public.trial_user_attributes VALUES (1, 1, 'fold_0', '0.675');
INSERT INTO public.trial_user_attributes VALUES (2, 1, 'fold_1', '0.55');
INSERT INTO public.trial_user_attributes VALUES (3, 1, 'fold_2', '0.925');
INSERT INTO public.trial_user_attributes VALUES (4, 1, 'cv_standard_error', '0.11023963796102462');
INSERT INTO public.trial_user_attributes VALUES (5, 1, 'train_score', '0.7208333333333332');
INSERT INTO public.trial_user_attributes VALUES (6, 1, 'epochs', '3');
INSERT INTO public.trial_user_attributes VALUES (7, 2, 'fold_0', '0.175');
INSERT INTO public.trial_user_attributes VALUES (8, 2, 'fold_1', '0.35');
INSERT INTO public.trial_user_attributes VALUES (9, 2, 'fold_2', '0.35');
INSERT INTO public.trial_user_attributes VALUES (10, 2, 'cv_standard_error', '0.058333333333333334');
INSERT INTO public.trial_user_attributes VALUES (11, 2, 'train_score', '0.2791666666666667');
INSERT INTO public.trial_user_attributes VALUES (12, 2, 'epochs', '1');
INSERT INTO public.trial_values VALUES (1, 1, 0, 0.7166666666666668, 'FINITE');
INSERT INTO public.trials VALUES (1, 0, 1, 'COMPLETE', '2026-11-25 11:08:56.459748', '2026-11-25 11:08:56.49109');
INSERT INTO public.trials VALUES (2, 1, 1, 'PRUNED', '2026-11-25 11:08:56.459774', '2026-11-25 11:08:56.49109');
INSERT INTO public.trials VALUES (3, 2, 1, 'RUNNING', '2026-11-25 11:08:56.512076', NULL);
INSERT INTO public.trials VALUES (4, 3, 1, 'RUNNING', '2026-11-25 11:08:56.512095', NULL);
INSERT INTO public.version_info VALUES (1, 12, '5.0.0');
SELECT pg_catalog.setval('public.studies_study_id_seq', 1, true);
SELECT pg_catalog.setval('public.study_directions_study_direction_id_seq', 1, true);
SELECT pg_catalog.setval('public.study_system_attributes_study_system_attribute_id_seq', 1, false);
SELECT pg_catalog.setval('public.study_user_attributes_study_user_attribute_id_seq', 1, true);
SELECT pg_catalog.setval('public.trial_heartbeats_trial_heartbeat_id_seq', 1, false);
SELECT pg_catalog.setval('public.trial_intermediate_values_trial_intermediate_value_id_seq', 4, true);
SELECT pg_catalog.setval('public.trial_params_param_id_seq', 8, true);
SELECT pg_catalog.setval('public.trial_system_attributes_trial_system_attribute_id_seq', 1, false);
SELECT pg_catalog.setval('public.trial_user_attributes_trial_user_attribute_id_seq', 12, true);
SELECT pg_catalog.setval('public.trial_values_trial_value_id_seq', 1, true);
SELECT pg_catalog.setval('public.trials_trial_id_seq', 4, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.selection_baseline
    ADD CONSTRAINT pk_selection_baseline PRIMARY KEY (study_uuid, name, repeat, fold);
ALTER TABLE ONLY public.selection_fold
    ADD CONSTRAINT pk_selection_fold PRIMARY KEY (trial_uuid, repeat, fold);
ALTER TABLE ONLY public.selection_lease
    ADD CONSTRAINT pk_selection_lease PRIMARY KEY (study_uuid, cohort);
ALTER TABLE ONLY public.selection_ledger
    ADD CONSTRAINT pk_selection_ledger PRIMARY KEY (data_fingerprint, held_out_fingerprint, study_uuid, evaluation);
ALTER TABLE ONLY public.selection_model
    ADD CONSTRAINT pk_selection_model PRIMARY KEY (study_uuid, number, seed);
ALTER TABLE ONLY public.selection_nested
    ADD CONSTRAINT pk_selection_nested PRIMARY KEY (study_uuid, fold);
ALTER TABLE ONLY public.selection_rows
    ADD CONSTRAINT pk_selection_rows PRIMARY KEY (study_uuid);
ALTER TABLE ONLY public.selection_study
    ADD CONSTRAINT pk_selection_study PRIMARY KEY (uuid);
ALTER TABLE ONLY public.selection_trial
    ADD CONSTRAINT pk_selection_trial PRIMARY KEY (uuid);
ALTER TABLE ONLY public.selection_alembic_version
    ADD CONSTRAINT selection_alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT studies_pkey PRIMARY KEY (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_pkey PRIMARY KEY (study_direction_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_objective_key UNIQUE (study_id, objective);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_pkey PRIMARY KEY (study_system_attribute_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_pkey PRIMARY KEY (study_user_attribute_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_pkey PRIMARY KEY (trial_heartbeat_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_key UNIQUE (trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_pkey PRIMARY KEY (trial_intermediate_value_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_step_key UNIQUE (trial_id, step);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_pkey PRIMARY KEY (param_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_param_name_key UNIQUE (trial_id, param_name);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_pkey PRIMARY KEY (trial_system_attribute_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_pkey PRIMARY KEY (trial_user_attribute_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_pkey PRIMARY KEY (trial_value_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_objective_key UNIQUE (trial_id, objective);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_pkey PRIMARY KEY (trial_id);
ALTER TABLE ONLY public.selection_study
    ADD CONSTRAINT uq_selection_study_optuna_study_id UNIQUE (optuna_study_id);
ALTER TABLE ONLY public.selection_trial
    ADD CONSTRAINT uq_selection_trial_optuna_trial_id UNIQUE (optuna_trial_id);
ALTER TABLE ONLY public.selection_trial
    ADD CONSTRAINT uq_selection_trial_study_uuid_number UNIQUE (study_uuid, number);
ALTER TABLE ONLY public.version_info
    ADD CONSTRAINT version_info_pkey PRIMARY KEY (version_info_id);
CREATE INDEX ix_selection_trial_study_uuid_cohort ON public.selection_trial USING btree (study_uuid, cohort);
CREATE UNIQUE INDEX ix_studies_study_name ON public.studies USING btree (study_name);
CREATE INDEX ix_trials_study_id ON public.trials USING btree (study_id);
ALTER TABLE ONLY public.selection_baseline
    ADD CONSTRAINT fk_selection_baseline_study_uuid FOREIGN KEY (study_uuid) REFERENCES public.selection_study(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_fold
    ADD CONSTRAINT fk_selection_fold_trial_uuid FOREIGN KEY (trial_uuid) REFERENCES public.selection_trial(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_lease
    ADD CONSTRAINT fk_selection_lease_study_uuid FOREIGN KEY (study_uuid) REFERENCES public.selection_study(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_model
    ADD CONSTRAINT fk_selection_model_study_uuid FOREIGN KEY (study_uuid) REFERENCES public.selection_study(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_nested
    ADD CONSTRAINT fk_selection_nested_study_uuid FOREIGN KEY (study_uuid) REFERENCES public.selection_study(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_rows
    ADD CONSTRAINT fk_selection_rows_study_uuid FOREIGN KEY (study_uuid) REFERENCES public.selection_study(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_study
    ADD CONSTRAINT fk_selection_study_optuna_study_id FOREIGN KEY (optuna_study_id) REFERENCES public.studies(study_id) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_trial
    ADD CONSTRAINT fk_selection_trial_optuna_trial_id FOREIGN KEY (optuna_trial_id) REFERENCES public.trials(trial_id) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_trial
    ADD CONSTRAINT fk_selection_trial_study_uuid FOREIGN KEY (study_uuid) REFERENCES public.selection_study(uuid) ON DELETE CASCADE;
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
