BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE selection_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT selection_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "selection_alembic_version" VALUES('0003');
CREATE TABLE selection_baseline (
	study_uuid VARCHAR(36) NOT NULL, 
	name VARCHAR(32) NOT NULL, 
	repeat INTEGER NOT NULL, 
	fold INTEGER NOT NULL, 
	row_hash VARCHAR(64) NOT NULL, 
	score DOUBLE NOT NULL, 
	note TEXT NOT NULL, 
	outputs_columns INTEGER NOT NULL, 
	outputs BLOB NOT NULL, 
	CONSTRAINT pk_selection_baseline PRIMARY KEY (study_uuid, name, repeat, fold), 
	CONSTRAINT fk_selection_baseline_study_uuid FOREIGN KEY(study_uuid) REFERENCES selection_study (uuid) ON DELETE CASCADE
);
CREATE TABLE selection_fold (
	trial_uuid VARCHAR(36) NOT NULL, 
	repeat INTEGER NOT NULL, 
	fold INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	score DOUBLE, 
	train_score DOUBLE, 
	row_hash VARCHAR(64) NOT NULL, 
	curve BLOB NOT NULL, 
	outputs_rows INTEGER, 
	outputs_columns INTEGER, 
	outputs BLOB, 
	CONSTRAINT pk_selection_fold PRIMARY KEY (trial_uuid, repeat, fold), 
	CONSTRAINT fk_selection_fold_trial_uuid FOREIGN KEY(trial_uuid) REFERENCES selection_trial (uuid) ON DELETE CASCADE
);
INSERT INTO "selection_fold" VALUES('2a76ae53-6997-4b0d-8197-bcf653121ee6',0,0,1,0.675,0.6375,'5d839af3b6a2bbc1355ed21dbf65d92b7e8d9b4cc82b7380ea93aac6dd98017d',X'00000007FD8DF23FCDCCCCCCCCCCD03F666666B091B0F13F000000000000DC3F00000004027CF13FCDCCCCCCCCCCE03F333333AB526EF13F333333333333DF3F333333E76EB1F03F333333333333E33FCDCCCC6CAB83F03F000000000000E43FCDCCCC8C9678F03F9A9999999999E33F66666602C58DEF3F666666666666E43F333333039031EF3F9A9999999999E53F',40,3,X'AF59B93EB703DCBD785E27BDF2B0F73E29A6403D9CE26DBE7E0A733E86140FBE18A6613D05C5E33EBE5763BC04371FBE34A2C93EAD5EACBDFF5292BD8F7EAC3E613ADDBDB05E83BCE0F1603E681A43BEAB81BB3D3059DF3E1D7F5CBD8BED0BBE93CCB33E58B3AFBD70BED5BC3C47B03E2CF1F1BD50A53ABC87F4EE3E94329F3CB9CB48BE6DF2C03E682A80BD057980BD6A0F023F9A1F873D8EA888BE0019C73E6AAF91BDCEE392BD0E2E193E295F97BDC634173EB4312D3DAC0183BD5329B43E2DFC9D3E58D6D63D40253CBE5693603D41B7873D3DCFD43EC3F03E3DAFCD83BDD0B3943E4035263E2CD0B5BDB56B143EFD99D43D73D2BABDD60E493E89C3973C02BFBFBDD84FA03EFE53753DC10A9D3C791EC83EE5AA863D9C80F9BCBC06963EEDCA613EA88A32BD3D586A3D8CBA973D4D2EA0BD3F8C953E52D52A3EB2D7ACBD8264193EB946303EBC7F713E5201113F8831E93D62AC083E64DF063F3263813D8535B03D1317ED3EF817ED3C96074A3CD99ED83E0CB8323EB08B8B3E32E8153FC107B63DAAC22C3DDB14E43E002AC03BF06B0ABDCF79BB3E5448053DD06D913C5E5ADC3ED9060B3E54AD073E1995F53EBDDF7B3EF5CC373ED430073FD24BBEBB56D718BDD8A1B53E449F513DBFC1943DC425EF3E7C272B3D280431BD6715A53E');
INSERT INTO "selection_fold" VALUES('2a76ae53-6997-4b0d-8197-bcf653121ee6',0,1,1,0.55,0.575,'5a069e0bd679dd5e59a43e074d1d290c9a34d0304aaaf1ccec4dcaf044a94e98',X'666666808BF5F23F9A9999999999D53F666666C8F714F23F9A9999999999D93F9A999905B320F23F000000000000D83F9A9999667ED8F13F333333333333DB3F9A9999D6E922F13F333333333333DF3F666666747431F13F000000000000E03F3333331E5EE9F03F666666666666E03FCDCCCC32C638F03F666666666666E23F9A99998BFE46F03F9A9999999999E13F',40,3,X'18F5C1BD4B3E32BF3FD111BF1A86683E656A2FBFEB9EDBBEBA25033D627F2DBFDFC708BFF3AC2F3EF6E92EBF9AE2F1BE6AE32D3DE6062BBF70F707BF7EB906BE402A30BF49F10FBF845E3A3DF16A2BBF5891EFBE98E10F3E488233BF551C00BFCC5D3F3DED5828BFAC9C02BF4A5C6D3E0B7D2DBF5C74EABEB38751BEBED02FBF2E7913BFF1077D3E73B732BFC82BE9BE135C5E3EE42A30BF5512E2BE0632BBBD7C1C0ABF68CBF0BC7C8E3EBE52CC1CBFFFF032BECCFE55BC90751DBF2C886CBD1A3DDABDE6E4EFBEACEC9ABE44D30D3C4E000BBFF8F214BE7A4D90BD798F02BF0E8697BE9CB487BDE1DA0ABFCF8B30BE5AC310BE740F33BFD02B003DDA4A85BD4B250ABF0A1D0DBE2251C1BC97DE02BF2E1BA0BD1E5686BE66561CBF96B1B0BE283091BD6451FCBE720051BE507633BBF261FABEAB5B70BEDC9F77BC19DD0DBFC85C0DBE4C6579BE883BC8BE1A43F93DCA7333BE3F7FD1BE00C0B5381AF0FABDDE9BDCBEA45C88BE7C9C8CBDCC431BBFDFD30D3E320459BDB0E001BFD053BE3CB4CE8EBD647AD7BE90B1B5BD923DB9BE6CD7E9BE6DFBCA3E00B291BEE04FB6BE28F4143D46CDF6BCB887E4BE0C6724BEBE9785BEAA67F8BECA476D3EA8B0A1BDDF4BF9BE2074C1BD283181BEE40EB4BEB8DC473D74A0E9BDFA94E1BE30FE0BBD');
INSERT INTO "selection_fold" VALUES('2a76ae53-6997-4b0d-8197-bcf653121ee6',0,2,1,0.925,0.95,'115a4d47060b0bf4431a87a95dc861f358bf612c75c7d0547e49e1da037143b3',X'9A9999259E0CF13F333333333333DF3F333333CB8341EF3FCDCCCCCCCCCCE83F3333331FBC27EF3F333333333333E73F666666485C59EE3F666666666666EA3F000000E2C7EAEB3F000000000000EE3F0000003C9A24EC3F9A9999999999ED3F0000003BEA41EB3F000000000000EE3F333333AAFD44E93F666666666666EE3F000000DEC1C5E93F9A9999999999ED3F',40,3,X'B063643FE1544B3E99EF1BBEA826723F48F75B3E1DB6E2BDEACC9D3FAA090FBF022C4FBE2EE8863F00CE95BE323D28BE2282563FA00E813C13D59BBD5C9C653F22778D3ECF11B8BD934C823F80BC1FBD7B7AF8BD2FFB963F38B7D2BE90FA49BE6E7B9E3F4000E5BEAD844FBE94FE673F2008063E143418BE933F7C3F0016803C5F2DECBD50E6833F105CFFBD096721BEA40D6B3F70D97F3D1AD109BEA9B1943DA255903EC426673E2800213D5A58B23E42C38F3E31277E3EB8AB1B3F97927E3C68C0C83EC4C5633F9094703CA61A8F3DD5FE9D3E2E0B6F3EB60A2CBEC410913E83B1873E76D3AB3DC153EF3E5C115F3E48144F3DEC94EE3EB7C87D3E1EFE85BD1A64573E859B8D3E52FB713E6277403F3A8A833D40672CBE9C668E3E3CC6873E73241ABDA6F4A53E3E7D813ECCE9CA3DB85F053F88A84E3EA47417BCA0D0923CA52B453E973525BE7A7E603E2087983E815C22BE746D4C3E6CBD9E3E47031ABE830C503E9E58963E18F6083E192B1A3FFF6F0B3E3941A3BD506D753EB0009C3E8BCAF7BDB670603E620C9A3EA7121BBE1470F63DE405A53EC49F3EBDD267AF3EF1D28E3E684282BDF0F29BBC5A339B3E7C20D23C24B39D3CD8C6213E973525BE7A7E603E2087983E76B21FBD40F47B3C65F06E3E6C82973C7C01283D3FD71E3E');
INSERT INTO "selection_fold" VALUES('62be9b80-730e-4c44-b87e-b7b23804d2ff',0,0,1,0.175,0.175,'7914e99a8424f6025fdefc839b1106c5f858a895cc680e6253c5b44eedbc47e8',X'00000006F3AAF33F333333333333B33F9A9999B91285F23F666666666666C63F666666E4F277F23F666666666666C63F',NULL,NULL,NULL);
INSERT INTO "selection_fold" VALUES('62be9b80-730e-4c44-b87e-b7b23804d2ff',0,1,1,0.35,0.325,'097609f295b95284f46e5943086033ecc002f881bb96fac19b70d2da98e96779',X'000000F7EB3DF33FCDCCCCCCCCCCD43F9A99995FEB47F23FCDCCCCCCCCCCD43FCDCCCCE8211FF23F666666666666D63F',NULL,NULL,NULL);
INSERT INTO "selection_fold" VALUES('62be9b80-730e-4c44-b87e-b7b23804d2ff',0,2,1,0.35,0.3375,'ecf87846d42c964f8c128727fedc2f8c7f24453dc47be931c0a9d3d7ae71b0a9',X'6666663271D3EE3F9A9999999999D53F9A991955E471EC3F9A9999999999D53F0000002C2EADEC3F666666666666D63F',NULL,NULL,NULL);
CREATE TABLE selection_lease (
	study_uuid VARCHAR(36) NOT NULL, 
	cohort INTEGER NOT NULL, 
	worker VARCHAR(36) NOT NULL, 
	place VARCHAR(255) NOT NULL, 
	home VARCHAR(255) NOT NULL, 
	attempt INTEGER NOT NULL, 
	lost INTEGER NOT NULL, 
	expires_at DATETIME NOT NULL, 
	trials INTEGER NOT NULL, 
	members INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	epochs INTEGER NOT NULL, 
	CONSTRAINT pk_selection_lease PRIMARY KEY (study_uuid, cohort), 
	CONSTRAINT fk_selection_lease_study_uuid FOREIGN KEY(study_uuid) REFERENCES selection_study (uuid) ON DELETE CASCADE
);
INSERT INTO "selection_lease" VALUES('4c3575d4-bbe3-449e-adaf-4806c3ed9f43',1,'99026bdb-686e-45b7-a72c-1b66cd394093','host:1','',1,0,'2020-01-01 00:00:00.000000',2,0,0,0);
CREATE TABLE selection_ledger (
	data_fingerprint VARCHAR(128) NOT NULL, 
	held_out_fingerprint VARCHAR(128) NOT NULL, 
	study_uuid VARCHAR(36) NOT NULL, 
	evaluation INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	number INTEGER NOT NULL, 
	rule VARCHAR(32) NOT NULL, 
	reason TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	claimed_at DATETIME NOT NULL, 
	evaluated_at DATETIME, 
	result_json TEXT, 
	outputs_columns INTEGER, 
	outputs BLOB, 
	CONSTRAINT pk_selection_ledger PRIMARY KEY (data_fingerprint, held_out_fingerprint, study_uuid, evaluation)
);
CREATE TABLE selection_model (
	study_uuid VARCHAR(36) NOT NULL, 
	number INTEGER NOT NULL, 
	seed INTEGER NOT NULL, 
	document_json TEXT NOT NULL, 
	row_hash VARCHAR(64) NOT NULL, 
	weights BLOB NOT NULL, 
	CONSTRAINT pk_selection_model PRIMARY KEY (study_uuid, number, seed), 
	CONSTRAINT fk_selection_model_study_uuid FOREIGN KEY(study_uuid) REFERENCES selection_study (uuid) ON DELETE CASCADE
);
CREATE TABLE selection_nested (
	study_uuid VARCHAR(36) NOT NULL, 
	fold INTEGER NOT NULL, 
	row_hash VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	params_json TEXT NOT NULL, 
	inner_score DOUBLE NOT NULL, 
	score DOUBLE NOT NULL, 
	CONSTRAINT pk_selection_nested PRIMARY KEY (study_uuid, fold), 
	CONSTRAINT fk_selection_nested_study_uuid FOREIGN KEY(study_uuid) REFERENCES selection_study (uuid) ON DELETE CASCADE
);
CREATE TABLE selection_rows (
	study_uuid VARCHAR(36) NOT NULL, 
	row_hash VARCHAR(64) NOT NULL, 
	targets BLOB NOT NULL, 
	folds BLOB NOT NULL, 
	row_groups BLOB, 
	CONSTRAINT pk_selection_rows PRIMARY KEY (study_uuid), 
	CONSTRAINT fk_selection_rows_study_uuid FOREIGN KEY(study_uuid) REFERENCES selection_study (uuid) ON DELETE CASCADE
);
CREATE TABLE selection_study (
	uuid VARCHAR(36) NOT NULL, 
	optuna_study_id INTEGER NOT NULL, 
	spec_json TEXT NOT NULL, 
	spec_fingerprint VARCHAR(128) NOT NULL, 
	data_fingerprint VARCHAR(128) NOT NULL, 
	held_out_fingerprint VARCHAR(128), 
	facts_json TEXT NOT NULL, 
	environment_json TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_selection_study PRIMARY KEY (uuid), 
	CONSTRAINT uq_selection_study_optuna_study_id UNIQUE (optuna_study_id), 
	CONSTRAINT fk_selection_study_optuna_study_id FOREIGN KEY(optuna_study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "selection_study" VALUES('4c3575d4-bbe3-449e-adaf-4806c3ed9f43',1,'{"name": "stored", "seed": 0, "data": {"dataset": "iris", "path": null, "target": null, "drop": [], "categorical": [], "groups": null, "impute": null, "held_out": null, "prepare": "standardize"}, "cv": {"folds": 3, "repeats": 1, "kind": null}, "model": {"hidden_layers": null, "activation": "relu", "init": "default", "std": 0.01}, "training": {"optimizer": "sgd", "momentum": 0.0, "nesterov": false, "batch_size": 32, "epochs": 3, "precision": "float32"}, "space": {"width": {"low": 2, "high": 8}, "learning_rate": {"low": 0.05, "high": 1.0, "log": true}}, "search": {"metric": "accuracy", "sampler": "tpe", "pruner": "successive_halving", "pruner_options": {"min_resource": 1, "reduction_factor": 2}, "trials": 6, "cohort": 2, "timeout_seconds": 0.0, "max_retries": 3, "max_consecutive_failures": 20, "default": {}}, "selection": {"rule": "best"}, "assessment": {"level": 0.95, "bootstraps": 1000, "rope": null, "nested": false}, "final": {"model": "refit", "seeds": 1}, "provenance": null}','6aee96e59ce8ad42c8eb8fd29a820ab1e560982edd17855ad5afee800a6435a3','8dbf1cc9d1bdb74243a371393ab1236cd994e8197004425d8e8f3161d0c6ff2d','50bfe8f2cf8a9257b740ce0834a45ab77c96376d78447d365972e81a41f05155','{"rows": 120, "held_out_rows": 30, "features": 4, "inputs": 4, "outputs": 3, "class_counts": {"setosa": 40, "versicolor": 40, "virginica": 40}, "fold_kind": "stratified", "folds": ["34d9542c3d596eb20305a92c7690cb8a4620dc33e2542609a0a00a744357f48a", "3b9b66ed96818da191863a7cd1c1664e37c0e883a79f3e37b168822b9502847c", "25467713150277ed85e66c6d4b452e483cfd76652f860705606fc51131338d20"], "duplicate_rows": 0, "warnings": []}','{"python": "3.11.7", "machine": "x86_64", "device": "cpu", "threads": 2, "versions": {"selection": "0.1.0", "torch": "2.15.0", "optuna": "5.0.0", "scikit-learn": "1.9.1", "numpy": "2.4.6"}}','2026-11-25 11:08:38.436648');
CREATE TABLE selection_trial (
	uuid VARCHAR(36) NOT NULL, 
	study_uuid VARCHAR(36) NOT NULL, 
	optuna_trial_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	cohort INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	epochs INTEGER NOT NULL, 
	seconds DOUBLE, 
	CONSTRAINT pk_selection_trial PRIMARY KEY (uuid), 
	CONSTRAINT uq_selection_trial_study_uuid_number UNIQUE (study_uuid, number), 
	CONSTRAINT uq_selection_trial_optuna_trial_id UNIQUE (optuna_trial_id), 
	CONSTRAINT fk_selection_trial_study_uuid FOREIGN KEY(study_uuid) REFERENCES selection_study (uuid) ON DELETE CASCADE, 
	CONSTRAINT fk_selection_trial_optuna_trial_id FOREIGN KEY(optuna_trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
INSERT INTO "selection_trial" VALUES('2a76ae53-6997-4b0d-8197-bcf653121ee6','4c3575d4-bbe3-449e-adaf-4806c3ed9f43',1,0,0,1,'',3,1.48714979995929752476e-02);
INSERT INTO "selection_trial" VALUES('62be9b80-730e-4c44-b87e-b7b23804d2ff','4c3575d4-bbe3-449e-adaf-4806c3ed9f43',2,1,0,1,'pruned after epoch 1',1,7.60089499999594409018e-03);
INSERT INTO "selection_trial" VALUES('c8c48a05-8557-423e-873d-b305917f2a90','4c3575d4-bbe3-449e-adaf-4806c3ed9f43',3,2,1,1,'',0,NULL);
INSERT INTO "selection_trial" VALUES('183e056a-c721-4969-ae2e-c328c2aac889','4c3575d4-bbe3-449e-adaf-4806c3ed9f43',4,3,1,1,'',0,NULL);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'stored');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'selection_uuid','"4c3575d4-bbe3-449e-adaf-4806c3ed9f43"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,5.41666666666666629659e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,6.83333333333333237114e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,3,7.1666666666666678509e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,1,2.91666666666666629659e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'width',8.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(2,1,'learning_rate',0.1,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(3,2,'width',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(4,2,'learning_rate',2.29062158757311534751e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(5,3,'width',6.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(6,3,'learning_rate',1.01708350194310417902e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(7,4,'width',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(8,4,'learning_rate',2.70811873438007277847e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.05, "high": 1.0, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'fold_0','0.675');
INSERT INTO "trial_user_attributes" VALUES(2,1,'fold_1','0.55');
INSERT INTO "trial_user_attributes" VALUES(3,1,'fold_2','0.925');
INSERT INTO "trial_user_attributes" VALUES(4,1,'cv_standard_error','0.11023963796102462');
INSERT INTO "trial_user_attributes" VALUES(5,1,'train_score','0.7208333333333332');
INSERT INTO "trial_user_attributes" VALUES(6,1,'epochs','3');
INSERT INTO "trial_user_attributes" VALUES(7,2,'fold_0','0.175');
INSERT INTO "trial_user_attributes" VALUES(8,2,'fold_1','0.35');
INSERT INTO "trial_user_attributes" VALUES(9,2,'fold_2','0.35');
INSERT INTO "trial_user_attributes" VALUES(10,2,'cv_standard_error','0.058333333333333334');
INSERT INTO "trial_user_attributes" VALUES(11,2,'train_score','0.2791666666666667');
INSERT INTO "trial_user_attributes" VALUES(12,2,'epochs','1');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,7.1666666666666678509e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 11:08:38.458824','2026-11-25 11:08:38.481832');
INSERT INTO "trials" VALUES(2,1,1,'PRUNED','2026-11-25 11:08:38.458851','2026-11-25 11:08:38.481832');
INSERT INTO "trials" VALUES(3,2,1,'RUNNING','2026-11-25 11:08:38.493899',NULL);
INSERT INTO "trials" VALUES(4,3,1,'RUNNING','2026-11-25 11:08:38.493918',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
CREATE INDEX ix_selection_trial_study_uuid_cohort ON selection_trial (study_uuid, cohort);
COMMIT;
