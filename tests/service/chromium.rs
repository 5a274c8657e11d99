//! A headless Chromium, driven by the `DevTools` protocol.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

use crate::socket::Socket;

/// Longest wait for what the page does.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page. Dropping it ends it.
pub struct Chromium {
    process: Child,
    runtime: Runtime,
    socket: Socket,
    session: Option<String>,
    calls: u64,
    /// Exceptions, refusals of the content policy, failed requests.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Chromium {
    /// A browser whose microphone hears this wav, over and over.
    pub fn start(microphone: &Path) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("chromium");
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--autoplay-policy=no-user-gesture-required",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            "--remote-debugging-port=0",
        ]);
        command.arg(format!("--use-file-for-fake-audio-capture={}", microphone.display()));
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut process = process.expect("chromium: see `make service-packages`");
        let mut output = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(output.read_line(&mut line).expect("a line") > 0, "chromium ended");
            if let Some(address) = line.trim().strip_prefix("DevTools listening on ws") {
                break format!("http{address}");
            }
        };
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = runtime.block_on(Socket::open(&address, HeaderMap::new()));
        let socket = socket.unwrap_or_else(|refused| panic!("{refused:?}"));
        let complaints = Vec::new();
        let mut browser = Self { process, runtime, socket, session: None, calls: 0, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Does what the protocol calls so, and gives its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let (calls, complaints, socket) = (self.calls, &mut self.complaints, &mut self.socket);
        self.runtime.block_on(async {
            socket.say(&call).await;
            loop {
                let Ok(Message::Text(text)) = socket.next().await else { panic!("chromium is gone") };
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                if answer["id"] == calls {
                    assert!(answer.get("error").is_none(), "{method}: {answer}");
                    return answer["result"].clone();
                }
                let is_complaint = answer["method"] == "Runtime.exceptionThrown"
                    || (answer["method"] == "Log.entryAdded" && answer["params"]["entry"]["level"] == "error");
                if is_complaint {
                    complaints.push(answer["params"].to_string());
                }
            }
        })
    }

    /// What the page has complained about since this was asked last.
    pub fn complaints(&mut self) -> Vec<String> {
        self.eval("0");
        std::mem::take(&mut self.complaints)
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression, waited for if it is a promise.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    pub fn text(&mut self, id: &str) -> String {
        self.eval(&format!("document.getElementById('{id}').textContent")).as_str().expect("a text").to_owned()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        let began = Instant::now();
        while self.eval(&format!("Boolean({expression})")) != true {
            if began.elapsed() > PATIENCE {
                let page = self.eval("document.body.innerText");
                panic!("never: {expression}\n{:?}\n{}", self.complaints, page.as_str().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Chooses a file for an input.
    pub fn choose(&mut self, id: &str, file: &Path) {
        let params = json!({ "expression": format!("document.getElementById('{id}')") });
        let object = self.call("Runtime.evaluate", params)["result"]["objectId"].clone();
        self.call("DOM.setFileInputFiles", json!({ "objectId": object, "files": [file] }));
    }

    /// Chooses an option, as a person does.
    pub fn select(&mut self, id: &str, value: &str) {
        self.eval(&format!(
            "{{ const e = document.getElementById('{id}'); e.value = '{value}';
                e.dispatchEvent(new Event('input', {{ bubbles: true }}));
                e.dispatchEvent(new Event('change', {{ bubbles: true }})); }}"
        ));
    }

    /// Shows the page as wide and high as this.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Presses a key: its name and, where it writes something, what.
    pub fn press(&mut self, key: &str, code: u32, text: &str) {
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let mut params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", params.clone());
        params["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", params);
    }

    /// Moves the focus to a control and presses Enter.
    pub fn enter(&mut self, id: &str) {
        self.eval(&format!("document.getElementById('{id}').focus()"));
        self.press("Enter", 13, "\r");
    }

    /// Types into the control that has the focus.
    pub fn write(&mut self, id: &str, text: &str) {
        self.eval(&format!("document.getElementById('{id}').focus()"));
        self.call("Input.insertText", json!({ "text": text }));
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
