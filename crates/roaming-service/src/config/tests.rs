use std::collections::BTreeSet;
use std::fs;

use super::reference::reference_yaml;
use super::table::{
    ALL, BOOTSTRAP_SERVERS, CONSUMER_LISTEN, FLUSH_INTERVAL_MS, KAFKA_PASSWORD, LOG, UNREAD_MIB,
    WINDOW_MINUTES,
};
use super::{ConfigErrors, Environment, Flags, Origin, Program, Settings};
use crate::Exit;
use crate::kafka::KafkaSettings;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn resolve(program: Program, flags: Pairs<'_>, env: Pairs<'_>) -> Result<Settings, ConfigErrors> {
    let flags: Flags = flags.iter().copied().collect();
    let environment: Environment = env.iter().copied().collect();
    Settings::resolve(program, &flags, &environment, &[])
}

fn consumer(flags: Pairs<'_>, env: Pairs<'_>) -> Settings {
    resolve(Program::Consumer, flags, env).expect("a right configuration")
}

/// Checks what is said, line by line, of a wrong configuration of the consumer.
#[track_caller]
fn check_refused(flags: Pairs<'_>, env: Pairs<'_>, says: &[&str]) {
    let errors = resolve(Program::Consumer, flags, env).expect_err("refused").to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), says.len(), "{errors}");
    for (line, part) in lines.iter().zip(says) {
        assert!(line.contains(part), "`{part}` is missing in: {line}");
    }
}

/// A file that is there as long as the value.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("text")
}

#[test]
fn a_flag_is_stronger_than_a_variable_than_a_file_than_the_default() {
    let yaml =
        file("consumer:\n  window_minutes: 30\n  flush_interval_ms: 100\n  listen: 0.0.0.0:1\n");
    let yaml = path(&yaml);
    let flags = [("config", yaml), ("listen", "0.0.0.0:3")];
    let env = [("ROAMING_LISTEN", "0.0.0.0:2"), ("ROAMING_FLUSH_INTERVAL_MS", "50")];
    let settings = consumer(&flags, &env);
    let found = |setting| settings.find(setting).map(|(value, origin)| (value, origin.to_string()));
    let expected = |value, origin: &str| Some((value, origin.to_owned()));
    assert_eq!(found(&CONSUMER_LISTEN), expected("0.0.0.0:3", "flag --listen"));
    assert_eq!(found(&FLUSH_INTERVAL_MS), expected("50", "env ROAMING_FLUSH_INTERVAL_MS"));
    assert_eq!(found(&WINDOW_MINUTES), expected("30", &format!("file {yaml}:2")));
    assert_eq!(found(&BOOTSTRAP_SERVERS), expected("localhost:9092", "default"));
}

#[test]
fn the_variable_that_names_the_file_is_weaker_than_the_flag() {
    let (first, second) = (file("telemetry: {log: warn}\n"), file("telemetry: {log: debug}\n"));
    let env = [("ROAMING_CONFIG", path(&first))];
    assert_eq!(consumer(&[], &env).text(&LOG), "warn");
    assert_eq!(consumer(&[("config", path(&second))], &env).text(&LOG), "debug");
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let settings = consumer(&[], &[("ROAMING_LISTEN", "")]);
    let (_, origin) = settings.find(&CONSUMER_LISTEN).expect("the default");
    assert_eq!(origin, &Origin::Default);
}

#[test]
fn one_environment_and_one_file_serve_all_programs() {
    let yaml = file("producer:\n  unread_mib: 8\nconsumer:\n  window_minutes: 60\n");
    let env = [("ROAMING_CONFIG", path(&yaml)), ("ROAMING_PRODUCER_UNREAD_MIB", "9")];
    assert_eq!(consumer(&[], &env).integer::<u64>(&WINDOW_MINUTES), 60);
    let producer = resolve(Program::Producer, &[], &env).expect("a right configuration");
    assert_eq!(producer.integer::<u64>(&UNREAD_MIB), 9);
    for program in [Program::LoadScenarios, Program::Lab] {
        resolve(program, &[], &env).expect("a right configuration");
    }
}

#[test]
fn a_misspelt_variable_is_refused_with_the_nearest() {
    check_refused(
        &[],
        &[("ROAMING_FLUSH_INTERVL_MS", "5"), ("ROAMING_NONSENSE", "")],
        &["(did you mean `ROAMING_FLUSH_INTERVAL_MS`?)", "unknown variable ROAMING_NONSENSE; "],
    );
    // What all of them begin with makes no two of them alike.
    check_refused(
        &[],
        &[("ROAMING_FOO", "1"), ("ROAMING_POSTGRES_DSN", "x")],
        &["unknown variable ROAMING_FOO; ", "(did you mean `POSTGRES_DSN`?)"],
    );
}

#[test]
fn variables_of_others_are_ignored() {
    consumer(&[], &[("HOME", "/"), ("POSTGRES_USER", "x"), ("ROAMING_SEED", "17")]);
    // What Kubernetes tells every container of a service `roaming-producer`.
    let links = [
        ("ROAMING_PRODUCER_SERVICE_HOST", "10.0.0.1"),
        ("ROAMING_PRODUCER_SERVICE_PORT_METRICS", "9101"),
        ("ROAMING_PRODUCER_PORT", "tcp://10.0.0.1:9101"),
        ("ROAMING_PRODUCER_PORT_9101_TCP_ADDR", "10.0.0.1"),
    ];
    consumer(&[], &links);
    check_refused(
        &[],
        &links[2..],
        &["ROAMING_PRODUCER_PORT", "ROAMING_PRODUCER_PORT_9101_TCP_ADDR"],
    );
}

#[test]
fn what_the_scripts_take_from_the_environment_stops_no_program() {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");
    let mut taken = BTreeSet::new();
    let found = fs::read_dir(scripts).expect("the scripts").map(|entry| entry.expect("one").path());
    for script in found.filter(|path| path.is_file()) {
        let text = fs::read_to_string(script).expect("text");
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        taken.extend(words.filter(|word| word.starts_with("ROAMING_")).map(str::to_owned));
    }
    assert!(taken.contains("ROAMING_PRODUCER_PRINCIPAL"), "{taken:?}");
    let set: Vec<_> = taken.iter().map(|name| (name.as_str(), "x")).collect();
    consumer(&[], &set);
}

#[test]
fn an_unknown_key_is_refused_with_file_and_line() {
    let yaml = file("consumer:\n  windw_minutes: 5\n\nstroe:\n  file: x\n");
    let place = path(&yaml);
    check_refused(
        &[("config", place)],
        &[],
        &[
            &format!(
                "{place}:2: unknown key in consumer `windw_minutes` (did you mean `window_minutes`?)"
            ),
            &format!(
                "{place}:4: unknown section `stroe` (did you mean `store`?); known: telemetry, "
            ),
        ],
    );
}

#[test]
fn a_file_of_another_shape_is_refused_with_the_place() {
    for (yaml, says) in [
        ("kafka: [1]\n", ":1:8: "),
        ("kafka:\n  bootstrap_servers: [a, b]\n", ":2:22: "),
        ("kafka:\n  ca: 'x\n", "/"),
        ("consumer:\n  listen:\n", ":2: `listen` has no value"),
        ("log: debug\n", ":1:6: "),
        ("kafka: {}\nkafka: {}\n", ":2:1: `kafka` stands twice; remove one"),
        ("store:\n  file: x\n  file: y\n", ":3:3: `file` stands twice; remove one"),
    ] {
        let yaml = file(yaml);
        check_refused(&[("config", path(&yaml))], &[], &[says]);
    }
    check_refused(
        &[("config", "/no/such.yaml")],
        &[],
        &["(flag --config): `/no/such.yaml` cannot be read"],
    );
    consumer(&[("config", path(&file("")))], &[]);
}

#[test]
fn what_is_out_of_range_says_what_is_allowed_and_where_it_stands() {
    let yaml = file("consumer:\n  window_minutes: 7\n");
    let place = path(&yaml);
    check_refused(
        &[("config", place), ("listen", "foo"), ("log", "a=b=c")],
        &[("ROAMING_FLUSH_INTERVAL_MS", "5"), ("BOOTSTRAP_SERVERS", "a:1,b")],
        &[
            "telemetry.log (flag --log): `a=b=c` is not allowed; allowed is a level (off, error, warn, ",
            "kafka.bootstrap_servers (env BOOTSTRAP_SERVERS): `a:1,b` is not allowed; allowed is `host:port`",
            "(flag --listen): `foo` is not allowed; allowed is an IP address and a port, such as",
            &format!("(file {place}:2): `7` is not allowed; allowed is minutes that divide a day"),
            "`5` is not allowed; allowed is a whole number from 10 to 10000",
        ],
    );
}

#[test]
fn a_misspelt_log_level_is_refused() {
    for text in ["inof", "roaming_producer", "info,roaming_producer", "librdkafka=inof"] {
        check_refused(&[("log", text)], &[], &["telemetry.log (flag --log): `"]);
    }
    for text in ["info", "WARN", "off", "warn,librdkafka=debug", "[checkpoint]=trace"] {
        consumer(&[("log", text)], &[]);
    }
}

#[test]
fn a_misspelt_choice_is_refused_with_the_nearest() {
    check_refused(
        &[],
        &[("ROAMING_KAFKA_SECURITY", "sasl-ssl"), ("ROAMING_KAFKA_USERNAME", "x")],
        &["plaintext, ssl, sasl_plaintext, sasl_ssl (did you mean `sasl_ssl`?)"],
    );
}

const SCRAM: [(&str, &str); 2] =
    [("ROAMING_KAFKA_SECURITY", "sasl_plaintext"), ("ROAMING_KAFKA_USERNAME", "counter")];

#[test]
fn a_secret_is_read_from_its_file_without_the_line_break() {
    for (text, value) in [("hunter2\n", "hunter2"), ("hunter2", "hunter2"), ("a b \r\n", "a b ")] {
        let secret = file(text);
        let env = [&SCRAM[..], &[("ROAMING_KAFKA_PASSWORD_FILE", path(&secret))]].concat();
        assert_eq!(consumer(&[], &env).text(&KAFKA_PASSWORD), value);
    }
    let secret = file("from the key\n");
    let yaml = file(&format!("kafka:\n  password_file: {}\n", path(&secret)));
    let settings = consumer(&[("config", path(&yaml))], &SCRAM);
    assert_eq!(settings.text(&KAFKA_PASSWORD), "from the key");
}

#[test]
fn a_secret_that_cannot_be_read_or_is_given_twice_is_refused() {
    let with = |more: Pairs<'static>| [&SCRAM[..], more].concat();
    let missing = with(&[("ROAMING_KAFKA_PASSWORD_FILE", "/no/such")]);
    check_refused(
        &[],
        &missing,
        &["(env ROAMING_KAFKA_PASSWORD_FILE): the file /no/such cannot be read"],
    );
    let blank = file("\n");
    let empty = with(&[]);
    let empty = [&empty[..], &[("ROAMING_KAFKA_PASSWORD_FILE", path(&blank))]].concat();
    check_refused(&[], &empty, &["is empty; write the value into it"]);
    let twice =
        with(&[("ROAMING_KAFKA_PASSWORD", "hunter2"), ("ROAMING_KAFKA_PASSWORD_FILE", "/x")]);
    check_refused(
        &[],
        &twice,
        &[
            "twice, by env ROAMING_KAFKA_PASSWORD and by env ROAMING_KAFKA_PASSWORD_FILE; remove one",
        ],
    );
    // A stronger source wins over a weaker one in either form.
    consumer(&[("kafka-password", "hunter2")], &missing);
}

#[test]
fn no_output_shows_a_secret() {
    let env = [&SCRAM[..], &[("ROAMING_KAFKA_PASSWORD", "hunter2")]].concat();
    let settings = consumer(&[], &env);
    let outputs = [
        format!("{settings:?}"),
        format!("{:?}", KafkaSettings::of(&settings)),
        super::show::table(&settings),
        super::show::json(&settings),
    ];
    for output in outputs {
        assert!(output.contains("***") && !output.contains("hunter2"), "{output}");
    }
    let empty = [&SCRAM[..], &[("ROAMING_KAFKA_PASSWORD", "  ")]].concat();
    check_refused(&[], &empty, &["(env ROAMING_KAFKA_PASSWORD): *** is not allowed"]);
}

#[test]
fn protection_that_is_half_given_or_not_asked_for_is_refused() {
    let pem = file("");
    let pem = path(&pem);
    let with = |security, more: Pairs<'_>, says: &[&str]| {
        check_refused(&[("kafka-security", security)], more, says);
    };
    with(
        "sasl_ssl",
        &[("ROAMING_KAFKA_PASSWORD", "x")],
        &["kafka.username is missing, set it with --kafka-username or ROAMING_KAFKA_USERNAME"],
    );
    with("sasl_plaintext", &[("ROAMING_KAFKA_USERNAME", "x")], &["kafka.password is missing"]);
    with("ssl", &[("ROAMING_KAFKA_CERTIFICATE", pem)], &["kafka.key is missing"]);
    with("ssl", &[("ROAMING_KAFKA_KEY", pem)], &["kafka.certificate is missing"]);
    with("ssl", &[("ROAMING_KAFKA_CA", "/no/ca.pem")], &["`/no/ca.pem` cannot be read"]);
    with(
        "ssl",
        &[("ROAMING_KAFKA_USERNAME", "x")],
        &["kafka.security is ssl; choose sasl_ssl or sasl_plaintext there, or remove this"],
    );
    with(
        "plaintext",
        &[("ROAMING_KAFKA_PASSWORD", "x"), ("ROAMING_KAFKA_CA", pem)],
        &[
            "kafka.password (env ROAMING_KAFKA_PASSWORD) would not be used",
            "choose ssl or sasl_ssl",
        ],
    );
}

#[test]
fn the_security_that_is_asked_for_reaches_the_clients() {
    let pem = file("");
    let pem = path(&pem);
    let env = [
        ("ROAMING_KAFKA_SECURITY", "sasl_ssl"),
        ("ROAMING_KAFKA_SASL_MECHANISM", "scram-sha-256"),
        ("ROAMING_KAFKA_USERNAME", "counter"),
        ("ROAMING_KAFKA_PASSWORD", "hunter2"),
        ("ROAMING_KAFKA_CA", pem),
        ("ROAMING_KAFKA_CERTIFICATE", pem),
        ("ROAMING_KAFKA_KEY", pem),
    ];
    let client = KafkaSettings::of(&consumer(&[], &env)).admin();
    for (key, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "counter"),
        ("sasl.password", "hunter2"),
        ("ssl.ca.location", pem),
        ("ssl.certificate.location", pem),
        ("ssl.key.location", pem),
    ] {
        assert_eq!(client.get(key), Some(value), "{key}");
    }
}

#[test]
fn flags_stand_before_or_behind_a_subcommand() {
    let command = || {
        clap::Command::new("x")
            .subcommand(clap::Command::new("runs"))
            .args(super::flags::arguments(Program::Consumer))
    };
    let given = |line: &[&str]| {
        let matches = command().get_matches_from(line);
        Flags::of_matches(Program::Consumer, &matches).get("log").map(ToOwned::to_owned)
    };
    assert_eq!(given(&["x", "--log", "debug", "runs"]).as_deref(), Some("debug"));
    assert_eq!(given(&["x", "runs", "--log", "debug"]).as_deref(), Some("debug"));
    assert_eq!(given(&["x", "--log", "a", "runs", "--log", "debug"]).as_deref(), Some("debug"));
    assert_eq!(given(&["x", "--log", "debug"]).as_deref(), Some("debug"));
    assert_eq!(given(&["x", "runs"]), None);
}

#[test]
fn every_default_passes_its_own_check_and_no_spelling_is_used_twice() {
    for program in [Program::Producer, Program::LoadScenarios, Program::Consumer, Program::Lab] {
        resolve(program, &[], &[]).expect("defaults are right");
        let own = ALL.iter().filter(|setting| setting.programs.contains(&program));
        let mut flags: Vec<_> = own.map(|setting| setting.flag(program)).collect();
        flags.sort_unstable();
        assert!(flags.windows(2).all(|pair| pair[0] != pair[1]), "{flags:?}");
    }
    let mut names: Vec<_> = ALL.iter().flat_map(|setting| [setting.env, setting.key]).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn the_reference_file_loads_and_says_what_holds_anyway() {
    let yaml = file(&reference_yaml());
    for program in [Program::Producer, Program::LoadScenarios, Program::Consumer] {
        let plain = resolve(program, &[], &[]).expect("a right configuration");
        let settings = resolve(program, &[("config", path(&yaml))], &[]).expect("it loads");
        let own = ALL.iter().filter(|setting| setting.programs.contains(&program));
        for setting in own.filter(|setting| setting.key != "config") {
            let value =
                |settings: &Settings| settings.find(setting).map(|(value, _)| value.to_owned());
            assert_eq!(value(&settings), value(&plain), "{setting}");
        }
    }
    // Each key that has no default is there too, as a comment.
    let all = reference_yaml().replace("# file: …", "").replace("  # ", "  ");
    for setting in ALL.iter().filter_map(|setting| setting.key.split_once('.')) {
        assert!(all.contains(&format!("\n  {}: ", setting.1)), "{}", setting.1);
    }
}

#[test]
fn all_that_is_wrong_ends_with_one_status() {
    let errors = resolve(Program::Consumer, &[("listen", "x")], &[("ROAMING_X", "1")]);
    assert_eq!(errors.expect_err("refused").tell(), Exit::Usage);
}
