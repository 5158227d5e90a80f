use std::collections::BTreeSet;

use document_api::{ProblemKind, routes};
use serde_json::Value;

use crate::{
    contract::{OPENAPI, conforms},
    service::Service,
};

#[test]
fn every_route_is_in_the_contract_and_the_contract_has_no_other() {
    let routed: BTreeSet<_> = routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let methods = ["get", "post", "put", "patch", "delete", "head", "options"];
    let mut written = BTreeSet::new();
    for (path, item) in OPENAPI["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| methods.contains(&key.as_str())) {
            written.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                let own = item["parameters"].as_array().into_iter().chain(operation["parameters"].as_array()).flatten();
                let declared = own.map(|parameter| match parameter["$ref"].as_str() {
                    Some(reference) => OPENAPI.pointer(reference.trim_start_matches('#')).unwrap(),
                    None => parameter,
                });
                assert!(
                    declared.clone().any(|p| p["name"] == name && p["in"] == "path"),
                    "{path} does not declare {name}"
                );
            }
        }
    }
    assert_eq!(routed, written);
}

#[test]
fn every_problem_is_in_the_contract_and_the_contract_has_no_other() {
    let known: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| format!("/problems/{}", kind.slug())).collect();
    let listed = OPENAPI["components"]["schemas"]["ProblemType"]["enum"].as_array().unwrap();
    assert_eq!(known, listed.iter().map(|slug| slug.as_str().unwrap().to_owned()).collect());
}

#[test]
fn references_lead_somewhere_and_examples_conform() {
    fn walk(value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(OPENAPI.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                }
                fields.values().for_each(walk);
            }
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&OPENAPI);
    let components = &OPENAPI["components"];
    for (example, schema) in [("Accepted", "Document"), ("Finished", "Document"), ("NotFound", "Problem")] {
        conforms(&components["schemas"][schema], &components["examples"][example]["value"], example).unwrap();
    }
}

#[tokio::test]
async fn the_contract_and_the_meaning_of_problems_can_be_fetched() {
    let service = Service::start().await;
    let answer = service.get("/openapi.yaml").await;
    assert_eq!(answer.header("content-type"), "application/yaml");
    assert_eq!(answer.text(), include_str!("../../openapi.yaml"));
    for kind in ProblemKind::ALL {
        let path = format!("/problems/{}", kind.slug());
        assert_eq!(service.get(&path).await.json()["type"], path);
    }
    service.get("/problems/unheard-of").await.problem(404, "not-found");
}
