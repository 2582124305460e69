//! What is wrong with a profile is said with its place, what is allowed, and what may be meant.

use roaming_sim::Profile;
use roaming_sim::profile::BUILTIN;

/// Replaces a text of the profile `demo`, and expects this message.
#[track_caller]
fn check(from: &str, to: &str, message: &str) {
    let (_, demo) = BUILTIN[0];
    assert!(demo.contains(from), "the profile has no `{from}`");
    let error = Profile::parse("my.yaml", &demo.replacen(from, to, 1)).unwrap_err().to_string();
    // The comments at the top of the profile are not what is tested here.
    let first = demo.lines().position(|line| line.contains(from.lines().next().unwrap())).unwrap();
    let place = format!("my.yaml:{}:", first + 1);
    assert_eq!(error.replacen(&place, "my.yaml:LINE:", 1), message);
}

#[test]
fn an_unknown_profile_is_named_with_the_known_ones() {
    let message = |name| Profile::builtin(name).unwrap_err().to_string();
    assert_eq!(
        message("urbn"),
        "unknown profile `urbn`; known: demo, urban, rural, cross_border (did you mean `urban`?)"
    );
    assert_eq!(
        message("cross-border"),
        "unknown profile `cross-border`; known: demo, urban, rural, cross_border (did you mean `cross_border`?)"
    );
    assert_eq!(
        message("mountain"),
        "unknown profile `mountain`; known: demo, urban, rural, cross_border"
    );
}

#[test]
fn every_builtin_profile_is_valid() {
    for (name, _) in BUILTIN {
        Profile::builtin(name).unwrap();
    }
}

const KEYS: &str = "start, duration_h, subscribers, home_networks, visited_networks, link, devices, \
                    trips, registration, traffic, policy, tariff, records, conditions, fraud, test_sims";

#[test]
fn an_unknown_key_is_named_with_the_known_ones() {
    check(
        "subscribers: 19000",
        "subscribrs: 19000",
        &format!(
            "my.yaml:LINE:1: unknown field `subscribrs`, expected one of {KEYS} (did you mean \
             `subscribers`?)"
        ),
    );
    check(
        "rat: eutran, share_percent: 85",
        "rat: eutran, share_percent: 70.5",
        "my.yaml:LINE:11: the share_percent of rats add up to 85.5; allowed is 100",
    );
    check(
        "subscribers: 19000",
        "duration_h: 3\nsubscribers: 19000",
        "my.yaml:LINE:1: `duration_h` stands twice; remove one",
    );
    check(
        "rat: eutran",
        "rat: lte",
        "my.yaml:LINE:19: unknown variant `lte`, expected one of geran, utran, eutran, nr",
    );
    check(
        "pattern: irsf",
        "pattern: isrf",
        "my.yaml:LINE:16: unknown variant `isrf`, expected one of irsf, registration_storm (did you \
         mean `irsf`?)",
    );
}

#[test]
fn a_missing_key_is_named() {
    let (_, demo) = BUILTIN[0];
    let error = Profile::parse("my.yaml", &demo.replace("duration_h: 12\n", "")).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("my.yaml:") && error.ends_with(": missing field `duration_h`"),
        "{error}"
    );
}

#[test]
fn a_value_out_of_range_is_told_what_is_allowed() {
    let allowed = "allowed is a whole number from 1 to 50000000";
    for (written, what) in [
        ("0", "0 is out of range"),
        ("-5", "-5 is out of range"),
        ("60000000", "60000000 is out of range"),
        ("many", "`many` is no number"),
    ] {
        let to = format!("subscribers: {written}");
        check("subscribers: 19000", &to, &format!("my.yaml:LINE:14: {what}; {allowed}"));
    }
    for written in ["130", "-1", "0.00001"] {
        check(
            "steered_percent: 30",
            &format!("steered_percent: {written}"),
            &format!(
                "my.yaml:LINE:20: {written} is out of range; allowed is a number from 0 to 100 with \
                 at most 4 decimals"
            ),
        );
    }
    check(
        "rat: eutran, share_percent: 85",
        "rat: eutran, share_percent: 70.5",
        "my.yaml:LINE:11: the share_percent of rats add up to 85.5; allowed is 100",
    );
    check(
        "duration_h: 12",
        "duration_h: 961",
        "my.yaml:LINE:13: 961 is out of range; allowed is a number from 0.01 to 960 with at most 2 \
         decimals",
    );
    check(
        "jitter_ms: 10, ",
        "jitter_ms: 100, ",
        "my.yaml:LINE:7: jitter_ms 100 is out of range; allowed is 0 to 80, the range of the latency",
    );
    check(
        "diurnal: [20, ",
        "diurnal: [",
        "my.yaml:LINE:12: diurnal has 23 entries; allowed is 24, one an hour",
    );
    check(
        "records: { tap_out_min_min: 2,",
        "records: { tap_out_min_min: 20,",
        "my.yaml:LINE:10: a least delay is above the most of its kind",
    );
}

#[test]
fn text_that_is_no_yaml_is_told_where() {
    let error = Profile::parse("my.yaml", "start: \"2026").unwrap_err().to_string();
    assert!(error.starts_with("my.yaml:1:"), "{error}");
    let error = Profile::parse("my.yaml", "").unwrap_err().to_string();
    assert!(error.starts_with("my.yaml:"), "{error}");
    let error = Profile::parse("my.yaml", "- a\n- b\n").unwrap_err().to_string();
    assert!(error.starts_with("my.yaml:1:1: "), "{error}");
}

#[test]
fn a_malformed_identifier_is_refused_where_it_stands() {
    check("plmn: \"99901\"", "plmn: \"9990\"", "my.yaml:LINE:27: PLMN must have 5 or 6 digits");
    check(
        "tadig: AAA01",
        "tadig: aaa01",
        "my.yaml:LINE:43: TADIG must consist of 3 capital letters and 2 capital letters or digits",
    );
    check("\"999010000000001\"", "\"99901\"", "my.yaml:LINE:13: IMSI must have 6 to 15 digits");
    check(
        "imei: \"001009000000018\"",
        "imei: \"001009000000019\"",
        "my.yaml:LINE:92: IMEI ends with check digit 9, expected 8",
    );
    check(
        "iccid: \"8999901000000000013\"",
        "iccid: \"8999901000000000014\"",
        "my.yaml:LINE:39: ICCID ends with check digit 4, expected 3",
    );
    check(
        "apn: internet",
        "apn: Internet!",
        "my.yaml:LINE:8: APN must consist of 1 to 23 lower-case letters, digits, dots and hyphens",
    );
    check(
        "start: \"2026-06-01",
        "start: \"2026-06-31",
        "my.yaml:LINE:8: not a UTC time of the form 2026-06-01T08:00:00.000Z",
    );
}

#[test]
fn what_could_be_live_is_refused() {
    check(
        "plmn: \"99901\"",
        "plmn: \"26201\"",
        "my.yaml:LINE:27: PLMN 26201 could be a live network; allowed is MCC 999, which no live \
         network has",
    );
    check(
        "tac: \"00100100\"",
        "tac: \"35100100\"",
        "my.yaml:LINE:30: a TAC is a text of 8 digits; allowed is the test range, which begins with 00",
    );
    check(
        "msisdn: \"999001000001\"",
        "msisdn: \"447700900123\"",
        "my.yaml:LINE:70: MSISDN could be a live number; allowed is country code 999",
    );
}

#[test]
fn a_pinned_identity_cannot_be_that_of_another_subscriber() {
    check(
        "\"999010000000001\"",
        "\"999210000000001\"",
        "my.yaml:LINE:13: IMSI belongs to no home network; allowed beginnings: 99901, 99902, 99903, \
         99904",
    );
    check(
        "\"999010000000001\"",
        "\"999015000000001\"",
        "my.yaml:LINE:13: IMSI may belong to another subscriber; allowed is an MSIN that does not \
         begin with 5",
    );
    check(
        "imei: \"001009000000018\"",
        "imei: \"001001000000015\"",
        "my.yaml:LINE:92: IMEI may belong to another subscriber; allowed is a TAC that is 50 or more \
         above those of the devices, or below them",
    );
}

#[test]
fn a_name_that_leads_nowhere_is_told_what_may_be_meant() {
    let known = "known: boreal, birch, cobalt, coral, dune, delta";
    check(
        "preferred: [boreal, cobalt, dune]",
        "preferred: [borael, cobalt, dune]",
        &format!(
            "my.yaml:LINE:81: preferred: unknown visited network `borael`; {known} (did you mean \
             `boreal`?)"
        ),
    );
    check(
        "network: coral, from_h",
        "network: aurora, from_h",
        &format!("my.yaml:LINE:16: network: unknown visited network `aurora`; {known}"),
    );
    check(
        "preferred: [boreal, cobalt, dune]",
        "preferred: [boreal, birch, dune]",
        "my.yaml:LINE:89: `birch` is the second preferred network in `borealia`; allowed is one",
    );
    check("plmn: \"99902\"", "plmn: \"99901\"", "my.yaml:LINE:27: PLMN `99901` is used twice");
}
