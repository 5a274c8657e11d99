//! The service held to its own description: schemathesis makes up requests from `/openapi.json`, also wrong ones.

use std::process::Command;

use crate::support::*;

/// Requests made up by chance for each operation, beside those that cover every field.
const EXAMPLES: &str = "20";

#[test]
fn answers_are_what_the_description_promises_also_to_requests_that_make_no_sense() {
    let (server, folder, _) = Server::with_voice(&["--rate-limit", "100000"]);
    let python = std::env::var("SYRINX_TTS_PYTHON").expect("SYRINX_TTS_PYTHON: see `make service-packages`");
    let mut run = Command::new(format!("{python}/bin/schemathesis"));
    run.args(["run", &format!("{}/openapi.json", server.address), "--no-color", "--continue-on-failure"]);
    run.args(["--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--generation-deterministic"]);
    // That voices, languages and texts must also exist, agree and be sayable, no schema can tell.
    run.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    // A WebSocket has tests of its own.
    run.args(["--exclude-path", "/stream", "--request-timeout", "60"]);
    let output = run.current_dir(folder.path()).output().expect("schemathesis");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("24 selected"), "not all operations were asked: {told}");
    let (_, stats) = server.get("/admin/stats");
    assert_eq!(stats["requests"]["failed"].as_u64(), Some(0), "{stats}");
}
