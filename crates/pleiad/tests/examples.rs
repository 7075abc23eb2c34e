//! Each example of jobs runs and prints what its reader expects.
//!
//! Where an example shows numbers that depend on the machine (times, the number of cores, who was
//! first), only what holds everywhere is asserted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/example.rs"]
mod example;

use std::path::Path;
use std::thread;

use example::{Folder, run};

/// Every example of jobs, and the test that runs it.
const EXAMPLES: [(&str, fn()); 11] = [
    ("jobs_01_word_count", word_count_adds_up_and_shows_what_it_cannot_read),
    ("jobs_02_monte_carlo", monte_carlo_gives_the_same_estimate_everywhere),
    ("jobs_03_sweep", the_sweep_stops_when_one_is_good_enough),
    ("jobs_04_bounded_pool", the_pool_is_filled_up_to_its_bound_and_never_beyond),
    ("jobs_05_setup", each_worker_sets_up_once_and_cleans_up_once),
    ("jobs_06_shared_data", the_shared_counter_grows_from_job_to_job),
    ("jobs_07_pipeline", the_pipeline_sorts_and_its_failure_spreads),
    ("jobs_08_objects", objects_come_back_with_what_their_jobs_have_printed),
    ("jobs_09_programs", programs_read_files_and_bytes_and_fail_alone),
    ("jobs_10_delegate", one_function_does_all_tasks_and_answers_messages),
    ("jobs_11_asked_by_tasks", a_task_has_its_questions_answered_by_jobs),
];

#[test]
fn each_example_is_tested_and_says_how_to_run_it() {
    example::check("jobs_", &EXAMPLES);
}

#[test]
fn each_example_says_in_its_name_what_it_is_about() {
    for name in example::names("") {
        let families = ["jobs_", "nodes_", "streams_", "tasks_"];
        let known = families.iter().any(|prefix| name.starts_with(prefix));
        assert!(known, "no test looks for {name}");
    }
}

#[test]
fn word_count_adds_up_and_shows_what_it_cannot_read() {
    let folder = Folder::new();
    folder.write("one.md", "the sun, the moon");
    folder.write("sub/two.rs", "// The Pleiades");
    folder.write("broken.md", [0xff, 0xfe, b'x']);
    folder.write("target/built.rs", "not looked at");

    let output = folder.run("jobs_01_word_count", &[]);

    output.shows("      4 words  ./one.md");
    output.shows("      2 words  ./sub/two.rs");
    output.shows("    failed     ./broken.md: stream did not contain valid UTF-8");
    output.ends_with(&[
        "6 words in 2 files, 1 failed. The most frequent:",
        "      3  the",
        "      1  moon",
        "      1  pleiades",
        "      1  sun",
    ]);
    output.has_lines(3 + 5);
}

#[test]
fn monte_carlo_gives_the_same_estimate_everywhere() {
    let output = Folder::new().run("jobs_02_monte_carlo", &[]);

    output.shows("one job:   39173 of 50000 darts hit, π is about 3.1338");
    output.shows("100 jobs:  3927282 of 5000000 darts hit, π is about 3.1418");
    output.shows("chance alone allows an error of 0.0022, this one is 0.0002");
    output.shows("machine * cpus succeeded   failed      s/job  job time");
    output.shows("0 waiting, 0 running, 101 succeeded, 0 failed, 0 cancelled");
    output.shows("job time * times as fast as one after the other");
}

#[test]
fn the_sweep_stops_when_one_is_good_enough() {
    let folder = Folder::new();
    let stars = ["alcyone", "atlas", "electra", "maia", "merope", "taygeta", "pleione", "celaeno"];
    let lock: String = stars.iter().map(|star| format!("name = \"{star}\"\n")).collect();
    folder.write("Cargo.lock", lock);

    let output = folder.run("jobs_03_sweep", &[]);

    output.shows("8 names. Each job tries hash functions for one size of table.");
    output.shows("* slots: 0 collisions: good enough, the others may stop");
    output.shows("slots  collisions    tried  why it ended");
    output.shows("*           0  * good enough");
    for size in (2..=12).map(|times| 8 * times) {
        output.shows(&format!("{size:>5}  *"));
    }
}

#[test]
fn a_sweep_without_success_ends_when_the_time_of_its_jobs_is_over() {
    let folder = Folder::new();
    // More names than can be told apart in so short a time, in any of the tables.
    let lock: String = (0..2_000).map(|n| format!("name = \"star-{n}\"\n")).collect();
    folder.write("many.lock", lock);

    let output = folder.run("jobs_03_sweep", &["many.lock"]);

    assert_eq!(output.count("* its time was over"), 11, "{output:?}");
    assert_eq!(output.count("* good enough*"), 0, "{output:?}");
}

#[test]
fn the_pool_is_filled_up_to_its_bound_and_never_beyond() {
    let folder = Folder::new();
    let zeros_and_all_bytes = [vec![0_u8; 160 * 4096], (0..=255).cycle().take(80 * 4096).collect()];
    folder.write("input", zeros_and_all_bytes.concat());

    let output = folder.run("jobs_04_bounded_pool", &["input"]);

    output.shows("after   * results: 100 jobs are outstanding again");
    output.ends_with(&[
        "240 blocks of 4096 bytes, at most 100 of them at once:",
        "",
        &" ".repeat(80),
        &" ".repeat(80),
        &"█".repeat(80),
    ]);
}

#[test]
fn each_worker_sets_up_once_and_cleans_up_once() {
    let folder = Folder::new();
    let lock = "[[package]]\nname = \"a\"\ndependencies = [\n \"b\",\n \"c 1.0.0\",\n]\n\
                [[package]]\nname = \"b\"\ndependencies = [\n \"d\",\n]\n\
                [[package]]\nname = \"c\"\ndependencies = [\n \"d\",\n]\n\
                [[package]]\nname = \"d\"\n";
    folder.write("Cargo.lock", lock);

    let output = folder.run("jobs_05_setup", &[]);

    for line in ["   3  a", "   1  b", "   1  c", "   0  d"] {
        output.shows(line);
    }
    let workers = output.count("a worker has loaded 4 packages");
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert!((1..=cores).contains(&workers), "{output:?}");
    let ends = "a worker ends; jobs it has done: ";
    assert_eq!(output.count(&format!("{ends}*")), workers, "{output:?}");
    let jobs = output.lines.iter().filter_map(|line| line.strip_prefix(ends));
    assert_eq!(jobs.map(|n| n.parse::<u32>().unwrap()).sum::<u32>(), 4, "{output:?}");
    output.has_lines(4 + 2 * workers);
}

#[test]
fn the_shared_counter_grows_from_job_to_job() {
    let folder = Folder::new();
    for lines in 1..=9 {
        folder.write(&format!("poem-{lines}"), "a line\n".repeat(lines));
    }
    folder.write("one-more", "  the longest line\n");

    let output = folder.run("jobs_06_shared_data", &["."]);

    output.ends_with(&["    46 lines in all; the longest: the longest line"]);
    // Each job has found another value, and the last one found them all.
    let after = output.lines.iter().filter_map(|line| line.split_once(" lines after ./"));
    let mut values: Vec<u32> = after.map(|(n, _)| n.trim().parse().unwrap()).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!((values.len(), values.last()), (10, Some(&46)), "{output:?}");
    output.has_lines(11);
}

#[test]
fn the_pipeline_sorts_and_its_failure_spreads() {
    let folder = Folder::new();
    folder.write("stars", "merope\nmaia\natlas\nelectra\npleione\nalcyone\n");

    let output = folder.run("jobs_07_pipeline", &["stars"]);

    output.is(&[
        "1 split, 4 sorts, 1 merge and 1 check are handed in",
        "sorted 6 lines of stars, from \"alcyone\" to \"pleione\"",
        "and without the file:",
        "  job-8 (split): No such file or directory (os error 2)",
        "  job-13 (merge): job-*, which it waits for, did not succeed because of job-8 (split): \
         No such file or directory (os error 2)",
    ]);
}

#[test]
fn objects_come_back_with_what_their_jobs_have_printed() {
    let folder = Folder::new();
    folder.write("a.rs", "// One.\nfn one() {\n    // TODO: more\n}\n");
    folder.write("b.rs", "fn two<T>() {}\nlet _ = two::<u8>();\n");

    let output = folder.run("jobs_08_objects", &["a.rs", "b.rs"]);

    output.is(&[
        "a.rs: 4 lines, 50 % comments, functions: one",
        "    line 3: // TODO: more",
        "b.rs: 2 lines, 0 % comments, functions: two",
        "    line 2: let _ = two::<u8>();",
    ]);
}

#[test]
fn programs_read_files_and_bytes_and_fail_alone() {
    let folder = Folder::new();
    folder.write("empty", "");
    folder.write("stars", "maia\nmerope\n");

    let output = folder.run("jobs_09_programs", &["empty", "stars"]);

    output.is(&[
        "fingerprints:",
        "  e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty",
        "  *  stars",
        "  exit status 1",
        "    sha256sum: *no such file*: No such file or directory",
        "lines:",
        "      0  empty",
        "      2  stars",
        "sort, fed with bytes: apple, fig, plum",
        "grep found nothing, which is no failure: exit status 1",
        "succeeded at attempt 3",
    ]);
}

#[test]
fn one_function_does_all_tasks_and_answers_messages() {
    let folder = Folder::new();
    folder.write("text", "maia and merope\nand atlas\n");

    let output = folder.run("jobs_10_delegate", &["text", "and", "sun"]);

    output.is(&[
        "Count(\"text\"): 2 lines",
        "Longest(\"text\"): \"maia and merope\"",
        "an index of 4 words is ready",
        "\"and\" occurs 2 times",
        "\"sun\" occurs 0 times",
        "Index(\"text\"): 2 questions answered",
    ]);
}

/// Without arguments, examples are about the repository in whose root they are run.
#[test]
fn the_examples_run_on_this_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    run("jobs_01_word_count", &[], &root).shows("* words  ./ARCHITECTURE.md");
    run("jobs_05_setup", &[], &root).shows("*  pleiad-cluster");
    run("jobs_06_shared_data", &[], &root)
        .shows("* lines after crates/pleiad-sched/src/scheduler.rs");
    run("jobs_07_pipeline", &[], &root).shows("sorted * lines of Cargo.lock, from \"\" to *");
    run("jobs_08_objects", &[], &root).shows("crates/pleiad/examples/jobs_08_objects.rs: *");
    run("jobs_09_programs", &[], &root).shows("* crates/pleiad/examples/jobs_09_programs.rs");
    run("jobs_10_delegate", &[], &root).shows("\"tokio\" occurs * times");
}

#[test]
fn a_task_has_its_questions_answered_by_jobs() {
    let output = Folder::new().run("jobs_11_asked_by_tasks", &[]);

    output.ends_with(&[
        "below 30000 there are 3245 primes",
        "below 10000 there are 1229 primes",
        "below 20000 there are 2262 primes",
        "below 13 nobody counts: I do not like 13",
        "the desk has had 4 questions, the journal 4 lines, and 4 jobs were done",
    ]);
    output.has_lines(5);
}
