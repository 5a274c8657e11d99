//! The API as `OpenAPI` describes it, gathered from the handlers.

use utoipa::openapi::response::Response;
use utoipa::openapi::{Content, OpenApi as Description, PathItem, Ref, RefOr};
use utoipa::{Modify, OpenApi};

use super::routes::{about, jobs, voices};
use super::{problem, speech, stream};

/// All of the API.
#[derive(OpenApi)]
#[openapi(
    info(title = "Syrinx", description = "Voice conversion and text to speech in RVC voices"),
    paths(
        voices::create,
        voices::list,
        voices::stats,
        voices::get,
        voices::remove,
        jobs::create,
        jobs::convert,
        jobs::list,
        jobs::get,
        jobs::remove,
        jobs::cancel,
        jobs::formats,
        jobs::download,
        jobs::events,
        speech::create,
        stream::connect,
        about::voices,
        about::presets,
        about::languages,
        about::health,
        about::ready,
        about::metrics,
        about::stats,
        about::cleanup,
    ),
    components(schemas(problem::Problem, stream::messages::Wish, stream::messages::Word)),
    modifiers(&Problems)
)]
pub struct Api;

/// Problems come as what they are, and whatever is not told of a single answer is one: no token, another site, a body that
/// cannot be read or is too large, too many requests, a fault of the service.
struct Problems;

impl Modify for Problems {
    fn modify(&self, api: &mut Description) {
        for path in api.paths.paths.values_mut() {
            let PathItem { get, post, delete, .. } = path;
            for operation in [get, post, delete].into_iter().flatten() {
                let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                let mut other = Response::new("any other problem");
                other.content.insert("application/json".into(), problem.into());
                operation.responses.responses.insert("default".into(), other.into());
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response
                        && !status.starts_with(['1', '2'])
                        && let Some(content) = response.content.swap_remove("application/json")
                    {
                        response.content.insert(problem::MEDIA_TYPE.into(), content);
                    }
                }
            }
        }
    }
}
