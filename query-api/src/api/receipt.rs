//! Answers to intake (SPEC §2.2).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pedigraph_proto::message::{Message, Receipt, Redaction, Refused, Status, Submitted};
use pedigraph_proto::{Digest, TenantId};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::problem::{Code, Problem};
use crate::respond::JSON;
use crate::write_node::WriteNode;

/// When a full disk is worth another try, seconds.
const NO_ROOM_RETRY_SECONDS: u32 = 30;

/// Hands a message to intake and answers once it is durable, or also visible. A client that goes away does not take
/// back what it sent, so `kept` (memory, a file) is held until intake is done with the message.
pub async fn submit<K>(app: &App, message: Message, wait_visible: bool, kept: K) -> Result<Response, Problem>
where
    K: Send + 'static,
{
    let tenant = message.tenant.clone();
    let taking = open(app)?.publish(message);
    let task = tokio::spawn(async move {
        let submitted = taking.await;
        drop(kept);
        submitted
    });
    let submitted = task.await.map_err(|error| Problem::internal("intake panicked", &error))?.map_err(refused)?;
    let visible = if wait_visible { Some(wait(app, &tenant, &submitted).await) } else { None };
    match &submitted {
        Submitted::One(receipt) => Ok(one(receipt, visible)),
        Submitted::Batch(receipts) => {
            let (status, said) = batch(receipts, visible);
            let body = app.body_of(&tenant, said.to_string()).map_err(Problem::of_what_is_recorded)?;
            Ok((status, [(header::CONTENT_TYPE, JSON)], body).into_response())
        }
    }
}

/// The write half; refuses before a body is received what would be refused after it.
pub fn open(app: &App) -> Result<&dyn WriteNode, Problem> {
    let write = app.config.write.as_deref().ok_or_else(only_reads)?;
    write.refuses().map_or(Ok(write), |why| Err(refused(why)))
}

/// This node has no writer.
fn only_reads() -> Problem {
    let advice = "this node only reads; send it to a node that runs `pedigraph process` or `pedigraph up`";
    Problem::new(Code::IntakeUnavailable, advice).retry_after(60)
}

/// The server is about to end.
pub fn stopping() -> Problem {
    Problem::new(Code::NotReady, "the server is stopping; send it again").retry_after(5)
}

/// The disk is full up to its reserve.
pub fn no_room() -> Problem {
    let advice = "the server's disk is full up to its reserve; nothing was recorded, send it again when the operator has made room";
    Problem::new(Code::InsufficientStorage, advice).retry_after(NO_ROOM_RETRY_SECONDS)
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Busy => Problem::new(Code::IntakeBusy, "the intake queue is full; send it again").retry_after(1),
        Refused::NoRoom => no_room(),
        Refused::Stopping => stopping(),
        Refused::TooLarge(detail) => Problem::new(Code::TooLarge, detail),
    }
}

/// Whether answers show everything that was submitted: they are bound by the slowest view that they use, so facts that
/// are folded are not enough. It is durable either way, so a node without views says no and nothing worse. A message that
/// added no entry is counted in a commit, which is visible when its count is.
async fn wait(app: &App, tenant: &TenantId, submitted: &Submitted) -> bool {
    let Some(views) = app.config.views.get() else { return false };
    let (receipts, timeout) = (receipts(submitted), app.limits().visible_wait);
    let is_counted = |receipt: &Receipt| matches!(receipt.status, Status::Duplicate | Status::Rejected);
    let commits = if receipts.iter().any(is_counted) { app.ledger().next_seq() } else { 0 };
    let Some(newest) = receipts.iter().map(|receipt| receipt.index).max() else { return true };
    let (counted, shown) =
        tokio::join!(views.wait_commits(tenant, commits, timeout), views.wait_visible(tenant, newest, timeout));
    counted && shown
}

fn receipts(submitted: &Submitted) -> &[Receipt] {
    match submitted {
        Submitted::One(receipt) => std::slice::from_ref(receipt),
        Submitted::Batch(receipts) => receipts,
    }
}

fn one(receipt: &Receipt, visible: Option<bool>) -> Response {
    let mut body = members(receipt);
    body.extend(visible.map(|visible| ("visible".to_owned(), Value::from(visible))));
    let location = HeaderValue::from_str(&format!("/api/v1/entries/{}", receipt.index));
    let mut response = match (&receipt.reject, receipt.status) {
        (Some(reject), _) => rejected(reject.code.as_str(), &reject.reason, body).into_response(),
        (None, Status::Rejected) => rejected("REJECTED", "the event was rejected", body).into_response(),
        (None, Status::Duplicate) => (StatusCode::OK, Json(body)).into_response(),
        (None, Status::Accepted | Status::Conflict) => (StatusCode::CREATED, Json(body)).into_response(),
    };
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn rejected(code: &str, reason: &str, members: Map<String, Value>) -> Problem {
    let problem = Problem::new(Code::Rejected, reason).with_code(code);
    let members = members.into_iter().filter(|(name, _)| !matches!(name.as_str(), "status" | "code" | "reason"));
    members.fold(problem, |problem, (name, value)| problem.member(&name, value))
}

/// What an answer says of a receipt.
pub fn members(receipt: &Receipt) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("status".into(), receipt.status.as_str().into());
    members.insert("index".into(), receipt.index.into());
    members.insert("leafHash".into(), hex::encode(receipt.leaf_hash).into());
    members.insert("eventId".into(), receipt.event_id.to_string().into());
    members.extend(receipt.conflicts_with.map(|index| ("conflictsWith".to_owned(), index.into())));
    if let Some(Redaction { rules, count, received_digest }) = &receipt.redaction {
        let received = Digest::sha256(*received_digest).to_string();
        members.insert("redaction".into(), json!({ "rules": rules, "count": count, "receivedDigest": received }));
    }
    if let Some(reject) = &receipt.reject {
        members.insert("code".into(), reject.code.as_str().into());
        members.insert("reason".into(), reject.reason.clone().into());
    }
    members
}

fn batch(receipts: &[Receipt], visible: Option<bool>) -> (StatusCode, Value) {
    let count = |status: Status| receipts.iter().filter(|receipt| receipt.status == status).count();
    let results: Vec<_> = receipts.iter().map(members).collect();
    let mut body = json!({
        "accepted": count(Status::Accepted),
        "duplicate": count(Status::Duplicate),
        "conflict": count(Status::Conflict),
        "rejected": count(Status::Rejected),
        "results": results,
    });
    if let (Some(visible), Value::Object(body)) = (visible, &mut body) {
        body.insert("visible".into(), visible.into());
    }
    let status = if count(Status::Conflict) + count(Status::Rejected) > 0 {
        StatusCode::MULTI_STATUS
    } else if count(Status::Accepted) == receipts.len() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    (status, body)
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::EventId;
    use pedigraph_proto::message::{Code as RejectCode, Reject};

    use super::*;

    fn receipt(status: Status) -> Receipt {
        let reject = (status == Status::Rejected).then(|| Reject::new(RejectCode::TooDeep, "too deep"));
        let event_id = EventId::from_slice(&[7; 16]).expect("16 bytes");
        let conflicts_with = (status == Status::Conflict).then_some(1);
        Receipt { status, index: 3, leaf_hash: [1; 32], event_id, conflicts_with, reject, redaction: None }
    }

    #[test]
    fn one_message_is_answered_by_how_it_ended() {
        let check = |status, want| assert_eq!(one(&receipt(status), None).status().as_u16(), want);
        check(Status::Accepted, 201);
        check(Status::Duplicate, 200);
        check(Status::Conflict, 201);
        check(Status::Rejected, 422);
    }

    #[test]
    fn a_reject_is_a_problem_with_its_own_code_and_index() {
        let response = one(&receipt(Status::Rejected), None);
        let problem = response.extensions().get::<Problem>().expect("a problem").to_json("r");
        assert_eq!(problem["code"], "TOO_DEEP");
        assert_eq!(problem["index"], 3);
        assert_eq!(problem["status"], 422);
    }

    #[test]
    fn a_receipt_says_what_was_overwritten() {
        let redaction = Redaction { rules: 1, count: 2, received_digest: [0xab; 32] };
        let redacted = members(&Receipt { redaction: Some(redaction), ..receipt(Status::Duplicate) });
        let want = json!({ "rules": 1, "count": 2, "receivedDigest": format!("sha256:{}", "ab".repeat(32)) });
        assert_eq!(redacted["redaction"], want);
        assert!(!members(&receipt(Status::Accepted)).contains_key("redaction"));
    }

    #[test]
    fn a_batch_is_answered_by_its_worst_element() {
        use Status::{Accepted, Conflict, Duplicate, Rejected};
        let check = |statuses: &[Status], want| {
            let receipts: Vec<_> = statuses.iter().map(|status| receipt(*status)).collect();
            assert_eq!(batch(&receipts, None).0.as_u16(), want, "{statuses:?}");
        };
        check(&[Accepted, Accepted], 201);
        check(&[Accepted, Duplicate], 200);
        check(&[Duplicate], 200);
        check(&[Accepted, Conflict], 207);
        check(&[Duplicate, Rejected], 207);
    }
}
