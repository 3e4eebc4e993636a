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
INSERT INTO public.selection_alembic_version VALUES ('0001');
INSERT INTO public.selection_fold VALUES ('cad14b4f-ee99-4761-afec-bd3207316437', 0, 0, 1, 0.675, 0.6375, 'bcbeabd7bee0e96a480df9e21b768ab51ae36e26539103862470e1a4d37d35df', '\x00000006fd8df23fcdccccccccccd03fcdccccad91b0f13f000000000000dc3f9a9999ff017cf13fcdcccccccccce03f000000a9526ef13f333333333333df3f000000e46eb1f03f333333333333e33fcdcccc6cab83f03f000000000000e43f6666668c9678f03f9a9999999999e33f33333301c58def3f666666666666e43f666666fa8f31ef3f9a9999999999e53f', 40, 3, '\xb059b93eb903dcbd845e27bdf2b0f73e2da6403d9ee26dbe7e0a733e89140fbe10a6613d06c5e33e945763bc02371fbe35a2c93eb15eacbdff5292bd907eac3e623addbdc05e83bce1f1603e6c1a43bea681bb3d3259df3e1f7f5cbd8ced0bbe95ccb33e5cb3afbd80bed5bc3e47b03e2df1f1bd80a53abc88f4ee3eac329f3cb7cb48be6ef2c03e692a80bd0a7980bd6c0f023f9c1f873d90a888be0219c73e6aaf91bdd6e392bd112e193e2c5f97bdc534173eb8312d3db20183bd5329b43e2efc9d3e5cd6d63d46253cbe6293603d3cb7873d3dcfd43ed2f03e3db6cd83bdd1b3943e4435263e30d0b5bdb16b143e069ad43d78d2babdd20e493e8ec3973c07bfbfbdd94fa03e0354753db70a9d3c781ec83eeeaa863dba80f9bcbc06963eefca613ea88a32bd2a586a3d8fba973d502ea0bd3f8c953e55d52a3eb4d7acbd8064193ebc46303eb97f713e5201113f8a31e93d5fac083e64df063f3863813d7f35b03d1317ed3e2018ed3c46074a3cd99ed83e13b8323eae8b8b3e33e8153fc707b63d9dc22c3ddb14e43e602ac03bfd6b0abdcf79bb3e6448053dad6d913c5f5adc3edc060b3e52ad073e1995f53ebfdf7b3ef4cc373ed430073f5a4bbebb65d718bdd9a1b53e549f513db9c1943dc425ef3e87272b3d330431bd6615a53e');
INSERT INTO public.selection_fold VALUES ('cad14b4f-ee99-4761-afec-bd3207316437', 0, 1, 1, 0.55, 0.575, 'cc0d16e570bfbe4ec00e989e0b3f1d146f95d7b4121d5a2fab98173df1546eec', '\x666666808bf5f23f9a9999999999d53f666666c2f714f23f9a9999999999d93f00000006b320f23f000000000000d83fcdcccc667ed8f13f333333333333db3f333333dce922f13f333333333333df3f666666787431f13f000000000000e03fcdcccc215ee9f03f666666666666e03f3333333ac638f03f666666666666e23f9a999991fe46f03f9a9999999999e13f', 40, 3, '\x1af5c1bd4a3e32bf40d111bf1686683e646a2fbfec9edbbea425033d617f2dbfe0c708bff6ac2f3ef4e92ebf99e2f1be53e32d3de5062bbf72f707bf7fb906be3e2a30bf4af10fbf7b5e3a3df06a2bbf5891efbe97e10f3e478233bf551c00bfd05d3f3dec5828bfac9c02bf4a5c6d3e097d2dbf5c74eabeb68751bebed02fbf2e7913bfef077d3e72b732bfca2be9be145c5e3ee42a30bf5612e2be0132bbbd7b1c0abfa8cbf0bc788e3ebe53cc1cbf02f132be9cfe55bc90751dbf48886cbd1a3ddabde6e4efbeadec9abe50d30d3c4c000bbffdf214be7a4d90bd798f02bf108697be9ab487bde0da0abfd48b30be56c310be740f33bfbc2b003dd94a85bd4a250abf0c1d0dbe1851c1bc96de02bf381ba0bd1d5686be67561cbf98b1b0be263091bd6251fcbe720051be687633bbf161fabead5b70bec89f77bc18dd0dbfcc5c0dbe486579be863bc8be0a43f93dcc7333be3c7fd1be0090b53818f0fabddf9bdcbea45c88be749c8cbdcc431bbfdad30d3e240459bdb0e001bfb053be3cb4ce8ebd647ad7be98b1b5bd8d3db9be68d7e9be65fbca3e00b291bedc4fb6be08f4143d42cdf6bcb787e4be0e6724bebb9785bea867f8bebe476d3eacb0a1bddc4bf9be2674c1bd263181bee00eb4be90dc473d76a0e9bdf894e1be40fe0bbd');
INSERT INTO public.selection_fold VALUES ('cad14b4f-ee99-4761-afec-bd3207316437', 0, 2, 1, 0.925, 0.95, 'b8ccea842330b83b2a6aee3372d5819a2cda6ecd9518d699acff05ea9540a56e', '\x666666249e0cf13f333333333333df3f666666c48341ef3fcdcccccccccce83fcdcccc14bc27ef3f333333333333e73f6666663e5c59ee3f666666666666ea3f333333dfc7eaeb3f000000000000ee3f333333359a24ec3f9a9999999999ed3f6666663dea41eb3f000000000000ee3f666666b4fd44e93f666666666666ee3f333333e7c1c5e93f9a9999999999ed3f', 40, 3, '\xb163643fe2544b3e8fef1bbea826723f48f75b3e0eb6e2bdeacc9d3faa090fbff62b4fbe2ee8863f01ce95be293d28be2082563f800e813c04d59bbd5a9c653f21778d3ec411b8bd924c823f80bc1fbd6f7af8bd2efb963f38b7d2be84fa49be6e7b9e3f4000e5bea4844fbe92fe673f2008063e0e3418be923f7c3f0016803c532decbd50e6833f005cffbd006721bea40d6b3f70d97f3d14d109bea2b1943da155903ec526673e2000213d5858b23e40c38f3e2e277e3eb6ab1b3fa0927e3c66c0c83ec4c5633f5c94703ca11a8f3dd5fe9d3e2c0b6f3eb60a2cbec410913e82b1873e6cd3ab3dc053ef3e5d115f3e40144f3dec94ee3eb6c87d3e22fe85bd1b64573e849b8d3e4efb713e6277403f3b8a833d40672cbe9c668e3e3bc6873e7a241abda5f4a53e3d7d813ec8e9ca3db85f053f84a84e3ea07417bcb0d0923ca52b453e973525be7d7e603e1f87983e825c22be726d4c3e6bbd9e3e46031abe840c503e9c58963e16f6083e182b1a3ffd6f0b3e4141a3bd4e6d753eaf009c3e90caf7bdb570603e610c9a3ea6121bbe1270f63de205a53ece9f3ebdd167af3ef0d28e3e654282bdf0f29bbc5a339b3e7420d23c3cb39d3cd8c6213e973525be7d7e603e1f87983e70b21fbd80f47b3c63f06e3e7682973c8401283d3fd71e3e');
INSERT INTO public.selection_fold VALUES ('0ef2fbe4-f63b-4cb1-8ef5-7651ca8439a2', 0, 0, 1, 0.175, 0.175, '1cab488df33e22305564c5b87bb2d1b097e3f932be4407d5380918fa270d60bc', '\x33333307f3aaf33f333333333333b33f333333ba1285f23f666666666666c63f9a9999dbf277f23f666666666666c63f', NULL, NULL, NULL);
INSERT INTO public.selection_fold VALUES ('0ef2fbe4-f63b-4cb1-8ef5-7651ca8439a2', 0, 1, 1, 0.35, 0.325, '911b03c46bc2e9945b91845cc8187964c4477f740fc540a6141c1bf7f1557106', '\x333333f6eb3df33fcdccccccccccd43f3333335deb47f23fcdccccccccccd43f333333e7211ff23f666666666666d63f', NULL, NULL, NULL);
INSERT INTO public.selection_fold VALUES ('0ef2fbe4-f63b-4cb1-8ef5-7651ca8439a2', 0, 2, 1, 0.35, 0.3375, '26c91838690d84bf9dbb6c937e867e08679d2edc1bdc2104f80c02d3744ef761', '\x0000002971d3ee3f9a9999999999d53fcdcc4c45e471ec3f9a9999999999d53f666666162eadec3f666666666666d63f', NULL, NULL, NULL);
INSERT INTO public.selection_study VALUES ('fce88206-6318-49c1-aeb6-7cc4ba44475f', 1, '{"name": "stored", "seed": 0, "data": {"dataset": "iris", "path": null, "target": null, "drop": [], "categorical": [], "groups": null, "impute": null, "held_out": null, "prepare": "standardize"}, "cv": {"folds": 3, "repeats": 1, "kind": null}, "model": {"hidden_layers": null, "activation": "relu", "init": "default", "std": 0.01}, "training": {"optimizer": "sgd", "momentum": 0.0, "nesterov": false, "batch_size": 32, "epochs": 3, "precision": "float32"}, "space": {"width": {"low": 2, "high": 8}, "learning_rate": {"low": 0.05, "high": 1.0, "log": true}}, "search": {"metric": "accuracy", "sampler": "tpe", "pruner": "successive_halving", "pruner_options": {"min_resource": 1, "reduction_factor": 2}, "trials": 6, "cohort": 2, "timeout_seconds": 0.0, "default": {}}, "selection": {"rule": "best"}, "assessment": {"level": 0.95, "bootstraps": 1000, "rope": null, "nested": false}, "final": {"model": "refit", "seeds": 1}, "provenance": null}', '64434512ebc7e8da8fd8f2c287e74d54aa1264506b0872d84a6f8d052a0296f4', '8dbf1cc9d1bdb74243a371393ab1236cd994e8197004425d8e8f3161d0c6ff2d', '50bfe8f2cf8a9257b740ce0834a45ab77c96376d78447d365972e81a41f05155', '{"rows": 120, "held_out_rows": 30, "features": 4, "class_counts": {"setosa": 40, "versicolor": 40, "virginica": 40}, "fold_kind": "stratified", "folds": ["34d9542c3d596eb20305a92c7690cb8a4620dc33e2542609a0a00a744357f48a", "3b9b66ed96818da191863a7cd1c1664e37c0e883a79f3e37b168822b9502847c", "25467713150277ed85e66c6d4b452e483cfd76652f860705606fc51131338d20"], "duplicate_rows": 0, "warnings": []}', '{"python": "3.11.7", "machine": "x86_64", "device": "cpu", "threads": 2, "versions": {"selection": "0.1.0", "torch": "2.15.0", "optuna": "5.0.0", "scikit-learn": "1.9.1", "numpy": "2.4.6"}}', '2026-11-24 16:43:37.538601');
INSERT INTO public.selection_trial VALUES ('cad14b4f-ee99-4761-afec-bd3207316437', 'fce88206-6318-49c1-aeb6-7cc4ba44475f', 1, 0, 0, 1, '', 3, 0.021993995000229916);
INSERT INTO public.selection_trial VALUES ('0ef2fbe4-f63b-4cb1-8ef5-7651ca8439a2', 'fce88206-6318-49c1-aeb6-7cc4ba44475f', 2, 1, 0, 1, 'pruned after epoch 1', 1, 0.006478183000581339);
INSERT INTO public.selection_trial VALUES ('008b149a-aa92-454a-9f57-6dfe5a53d2d1', 'fce88206-6318-49c1-aeb6-7cc4ba44475f', 3, 2, 1, 1, '', 0, NULL);
INSERT INTO public.selection_trial VALUES ('17fee4d5-b416-46ef-8c2f-ba10e57f9d98', 'fce88206-6318-49c1-aeb6-7cc4ba44475f', 4, 3, 1, 1, '', 0, NULL);
INSERT INTO public.studies VALUES (1, 'stored');
INSERT INTO public.study_directions VALUES (1, 'MAXIMIZE', 1, 0);
INSERT INTO public.study_user_attributes VALUES (1, 1, 'selection_uuid', '"fce88206-6318-49c1-aeb6-7cc4ba44475f"');
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
INSERT INTO public.trials VALUES (1, 0, 1, 'COMPLETE', '2026-11-24 16:43:37.568813', '2026-11-24 16:43:37.612525');
INSERT INTO public.trials VALUES (2, 1, 1, 'PRUNED', '2026-11-24 16:43:37.568865', '2026-11-24 16:43:37.612525');
INSERT INTO public.trials VALUES (3, 2, 1, 'RUNNING', '2026-11-24 16:43:37.629679', NULL);
INSERT INTO public.trials VALUES (4, 3, 1, 'RUNNING', '2026-11-24 16:43:37.629723', NULL);
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
ALTER TABLE ONLY public.selection_fold
    ADD CONSTRAINT pk_selection_fold PRIMARY KEY (trial_uuid, repeat, fold);
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
CREATE UNIQUE INDEX ix_studies_study_name ON public.studies USING btree (study_name);
CREATE INDEX ix_trials_study_id ON public.trials USING btree (study_id);
ALTER TABLE ONLY public.selection_fold
    ADD CONSTRAINT fk_selection_fold_trial_uuid FOREIGN KEY (trial_uuid) REFERENCES public.selection_trial(uuid) ON DELETE CASCADE;
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
