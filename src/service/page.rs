//! The web page: inside the binary, without anything from elsewhere.

use axum::Router;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing but what is served here, no inline code or style, and no other page around it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// A part of the page.
struct Part {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

static PARTS: [Part; 5] = [
    Part { path: "/", media_type: "text/html; charset=utf-8", bytes: include_bytes!("page/index.html") },
    Part { path: "/page.css", media_type: "text/css; charset=utf-8", bytes: include_bytes!("page/page.css") },
    Part { path: "/page.js", media_type: "text/javascript; charset=utf-8", bytes: include_bytes!("page/page.js") },
    Part {
        path: "/worklet.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("page/worklet.js"),
    },
    Part { path: "/icon.svg", media_type: "image/svg+xml", bytes: include_bytes!("page/icon.svg") },
];

/// Whether this is part of the page, which holds nothing secret and asks for the token itself.
pub fn holds(path: &str) -> bool {
    PARTS.iter().any(|part| part.path == path)
}

/// Routes of all parts.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    PARTS.iter().fold(Router::new(), |router, part| router.route(part.path, get(async || part.answer())))
}

impl Part {
    fn answer(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.media_type),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // Another version of the program is another page.
            (header::CACHE_CONTROL, "no-cache"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
        ];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        (headers, self.bytes).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_the_page_comes_from_elsewhere_or_stands_inline() {
        let text = |path: &str| {
            let part = PARTS.iter().find(|part| part.path == path).expect(path);
            std::str::from_utf8(part.bytes).expect("text")
        };
        for part in &PARTS {
            let text = text(part.path).replace("http://www.w3.org/2000/svg", "");
            assert!(
                !text.contains("http://") && !text.contains("https://") && !text.contains("src=\"//"),
                "{}",
                part.path
            );
        }
        let page = text("/");
        for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
            assert!(!page.contains(inline), "{inline}");
        }
        for linked in ["page.css", "page.js", "icon.svg"] {
            assert!(page.contains(linked) && holds(&format!("/{linked}")), "{linked}");
        }
        assert!(text("/page.js").contains("addModule(\"worklet.js\")") && holds("/worklet.js"));
    }
}
