//! Between what goes over the wire and the types of the ground floor.

use bytes::Bytes;

use super::message::{self, execute, executed, reply, request};
use crate::types::{
    ClusterId, Command, Epoch, Error, GroupId, Kind, Mutation, NodeId, Outcome, Result, SessionId,
};

/// The longest error message that is sent, in bytes.
const ERROR_BYTES: usize = 4096;

macro_rules! bodies {
    ($($request:ident -> $reply:ident,)*) => {$(
        impl From<message::$request> for request::Body {
            fn from(message: message::$request) -> request::Body {
                request::Body::$request(message)
            }
        }

        impl From<message::$reply> for reply::Body {
            fn from(message: message::$reply) -> reply::Body {
                reply::Body::$reply(message)
            }
        }

        /// `Internal` if the other side answered with something else.
        impl TryFrom<reply::Body> for message::$reply {
            type Error = Error;

            fn try_from(reply: reply::Body) -> Result<message::$reply> {
                match reply {
                    reply::Body::$reply(message) => Ok(message),
                    _ => Err(Error::internal("the reply does not belong to the request")
                        .with("expected", stringify!($reply))),
                }
            }
        }
    )*};
}

bodies! {
    Append -> Appended,
    AskVote -> Voted,
    SnapshotChunk -> SnapshotTaken,
    SnapshotInstall -> SnapshotInstalled,
    HandOver -> HandedOver,
    Execute -> Executed,
    Route -> Routes,
    Join -> Joined,
    Propose -> Proposed,
    Describe -> Described,
    Ping -> Pong,
    Manage -> Managed,
    Plan -> Planned,
}

/// An error as it is sent. The errors beneath it become part of the message.
pub fn failure(error: &Error) -> message::Failure {
    let mut message = error.to_string();
    message.truncate(message.floor_char_boundary(ERROR_BYTES));
    message::Failure { code: error.kind().code(), message, revision: error.revision() }
}

/// An error as it arrives. A kind that this version does not know is `Internal`.
pub fn error(failure: message::Failure) -> Error {
    let kind = Kind::from_code(failure.code).unwrap_or(Kind::Internal);
    let error = Error::new(kind, failure.message);
    match failure.revision {
        Some(revision) => error.at_revision(revision),
        None => error,
    }
}

/// A cluster id as it is sent: 16 bytes, most significant first, or none.
pub fn cluster_bytes(cluster: Option<ClusterId>) -> Bytes {
    cluster.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0.to_be_bytes()))
}

/// A cluster id as it arrives.
///
/// # Errors
/// `InvalidArgument` unless there are 16 bytes, or none.
pub fn cluster_id(bytes: &[u8]) -> Result<Option<ClusterId>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match bytes.try_into() {
        Ok(bytes) => Ok(Some(ClusterId(u128::from_be_bytes(bytes)))),
        Err(_) => Err(Error::new(Kind::InvalidArgument, "cluster id has the wrong length")
            .with("bytes", bytes.len())
            .with("expected", 16)),
    }
}

/// A node id as it arrives: 0 is nobody.
pub fn node_id(number: u64) -> Option<NodeId> {
    (number != 0).then_some(NodeId(number))
}

/// The group with that number.
///
/// # Errors
/// `InvalidArgument` if there can be none.
pub fn group_id(number: u32) -> Result<GroupId> {
    GroupId::from_number(number).ok_or_else(|| {
        Error::new(Kind::InvalidArgument, "group number out of range").with("group", number)
    })
}

/// What a message must have.
///
/// # Errors
/// `InvalidArgument` naming the field, if it is not there.
pub fn required<T>(field: Option<T>, name: &'static str) -> Result<T> {
    field.ok_or_else(|| {
        Error::new(Kind::InvalidArgument, "the message lacks a field").with("field", name)
    })
}

/// A command as it is sent.
impl From<Command> for message::Execute {
    fn from(command: Command) -> message::Execute {
        let operation = match command.mutation {
            Mutation::Put { key, value, if_revision } => {
                execute::Operation::Put(message::Put { key, value, if_revision })
            }
            Mutation::Delete { key, if_revision } => {
                execute::Operation::Delete(message::Delete { key, if_revision })
            }
        };
        message::Execute {
            session: command.session.0,
            sequence: command.sequence,
            lowest_unanswered: command.lowest_unanswered,
            not_after_ms: command.not_after_ms,
            hops: 0,
            operation: Some(operation),
        }
    }
}

/// A command as it arrives: `InvalidArgument` if the operation is a read, or none that is known.
impl TryFrom<message::Execute> for Command {
    type Error = Error;

    fn try_from(execute: message::Execute) -> Result<Command> {
        let mutation = match required(execute.operation, "operation")? {
            execute::Operation::Put(message::Put { key, value, if_revision }) => {
                Mutation::Put { key, value, if_revision }
            }
            execute::Operation::Delete(message::Delete { key, if_revision }) => {
                Mutation::Delete { key, if_revision }
            }
            execute::Operation::Get(_) => {
                return Err(Error::new(Kind::InvalidArgument, "a read is no command"));
            }
        };
        Ok(Command {
            session: SessionId(execute.session),
            sequence: execute.sequence,
            lowest_unanswered: execute.lowest_unanswered,
            not_after_ms: execute.not_after_ms,
            mutation,
        })
    }
}

/// An outcome as it is sent, with the epoch of the node that answers.
///
/// # Errors
/// The error that a refused command is answered with.
pub fn executed(outcome: Outcome, epoch: Epoch) -> Result<message::Executed> {
    let result = match outcome.into_result()? {
        Outcome::Put { revision } => executed::Result::Revision(message::Revision { revision }),
        Outcome::Deleted { existed } => executed::Result::Deleted(message::Deleted { existed }),
        Outcome::Refused { .. } => return Err(Error::internal("a refusal is an error")),
    };
    Ok(message::Executed { epoch: epoch.0, result: Some(result) })
}

/// The outcome of a mutation as it arrives: `Internal` if it is that of a read, or none.
impl TryFrom<message::Executed> for Outcome {
    type Error = Error;

    fn try_from(executed: message::Executed) -> Result<Outcome> {
        match executed.result {
            Some(executed::Result::Revision(put)) => Ok(Outcome::Put { revision: put.revision }),
            Some(executed::Result::Deleted(deleted)) => {
                Ok(Outcome::Deleted { existed: deleted.existed })
            }
            Some(executed::Result::Value(_)) | None => {
                Err(Error::internal("the reply does not belong to a mutation"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_keeps_its_kind_message_and_revision() {
        for kind in Kind::ALL {
            let sent = Error::new(*kind, "something").with("name", "value").at_revision(7);
            let arrived = error(failure(&sent));
            assert_eq!(arrived.kind(), *kind);
            assert_eq!(arrived.to_string(), sent.to_string());
            assert_eq!(arrived.revision(), Some(7));
        }
        let unknown = message::Failure { code: 4711, ..message::Failure::default() };
        assert_eq!(error(unknown).kind(), Kind::Internal);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let sent = Error::internal("ä".repeat(ERROR_BYTES));
        assert_eq!(failure(&sent).message.len(), ERROR_BYTES);
        let odd = Error::internal(format!("x{}", "ä".repeat(ERROR_BYTES)));
        assert_eq!(failure(&odd).message.len(), ERROR_BYTES - 1);
    }

    #[test]
    fn commands_and_outcomes_come_back_as_they_were() {
        for mutation in [
            Mutation::Put { key: "k".into(), value: "v".into(), if_revision: None },
            Mutation::Put { key: "k".into(), value: "v".into(), if_revision: Some(0) },
            Mutation::Delete { key: "k".into(), if_revision: Some(7) },
        ] {
            let command = Command {
                session: SessionId(1),
                sequence: 2,
                lowest_unanswered: 3,
                not_after_ms: 4,
                mutation,
            };
            let wire = message::Execute::from(command.clone());
            assert_eq!(Command::try_from(wire).unwrap(), command);
        }
        for outcome in [Outcome::Put { revision: 9 }, Outcome::Deleted { existed: true }] {
            let wire = executed(outcome.clone(), Epoch(3)).unwrap();
            assert_eq!(wire.epoch, 3);
            assert_eq!(Outcome::try_from(wire).unwrap(), outcome);
        }
        let refused = Outcome::Refused { code: Kind::Conflict.code(), revision: Some(5) };
        let error = executed(refused, Epoch(3)).unwrap_err();
        assert_eq!((error.kind(), error.revision()), (Kind::Conflict, Some(5)));
    }

    #[test]
    fn a_command_needs_a_mutation() {
        let none = message::Execute::default();
        assert_eq!(Command::try_from(none).unwrap_err().kind(), Kind::InvalidArgument);
        let get = message::Execute {
            operation: Some(execute::Operation::Get(message::Get::default())),
            ..message::Execute::default()
        };
        assert_eq!(Command::try_from(get).unwrap_err().kind(), Kind::InvalidArgument);
    }

    #[test]
    fn ids_come_back_as_they_were() {
        let cluster = Some(ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
        assert_eq!(cluster_bytes(cluster).first(), Some(&1));
        assert_eq!(cluster_id(&cluster_bytes(cluster)).unwrap(), cluster);
        assert_eq!(cluster_id(&cluster_bytes(None)).unwrap(), None);
        assert_eq!(cluster_id(b"short").unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!((node_id(0), node_id(5)), (None, Some(NodeId(5))));
        assert_eq!(group_id(GroupId::Metadata.number()).unwrap(), GroupId::Metadata);
        assert_eq!(group_id(70_000).unwrap_err().kind(), Kind::InvalidArgument);
    }

    #[test]
    fn a_reply_of_another_kind_is_an_error() {
        let reply = reply::Body::from(message::Pong::default());
        assert!(message::Pong::try_from(reply.clone()).is_ok());
        assert_eq!(message::Voted::try_from(reply).unwrap_err().kind(), Kind::Internal);
    }
}
