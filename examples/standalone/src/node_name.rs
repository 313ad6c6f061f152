//! A node as the command line names it.

use std::fmt;
use std::str::FromStr;

use kvcore::api::{Client, Error, Kind, MemberStatus, NodeId, Result};

/// A node by its id, in hexadecimal as it is shown everywhere, or by the address of a member.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeName {
    Id(NodeId),
    Address(String),
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeName, String> {
        if text.contains(':') {
            return Ok(NodeName::Address(text.to_owned()));
        }
        let neither = |_| format!("`{text}` is neither the id of a node nor HOST:PORT");
        text.parse().map(NodeName::Id).map_err(neither)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeName::Id(id) => id.fmt(f),
            NodeName::Address(address) => address.fmt(f),
        }
    }
}

impl NodeName {
    /// The id of the node.
    ///
    /// # Errors
    /// Those of [`Client::members`]; `NotFound` if no member has the address, `InvalidArgument` if
    /// several have.
    pub fn of(&self, client: &Client) -> Result<NodeId> {
        match self {
            NodeName::Id(id) => Ok(*id),
            NodeName::Address(address) => find(address, &client.members().wait()?),
        }
    }
}

fn find(address: &str, members: &[MemberStatus]) -> Result<NodeId> {
    let mut there = members.iter().filter(|member| member.address == address);
    match (there.next(), there.next()) {
        (Some(member), None) => member.id.parse(),
        (None, _) => {
            Err(Error::new(Kind::NotFound, "no member has the address").with("address", address))
        }
        (Some(_), Some(_)) => Err(Error::new(
            Kind::InvalidArgument,
            "several members have the address: name one by id",
        )
        .with("address", address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_colon_is_an_address_and_the_rest_is_hexadecimal() {
        let id = "00abcdef01234567".parse();
        assert_eq!(id, Ok(NodeName::Id(NodeId(0x00ab_cdef_0123_4567))));
        for address in ["node-1:7400", "[::1]:7400"] {
            assert_eq!(address.parse(), Ok(NodeName::Address(address.into())));
        }
        for bad in ["", "node-1", "100abcdef01234567"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_must_be_that_of_one_member() {
        let member = |id: &str, address: &str| MemberStatus {
            id: id.into(),
            address: address.into(),
            ..MemberStatus::default()
        };
        let members = [member("0a", "h:1"), member("0b", "h:2"), member("0c", "h:2")];
        assert_eq!(find("h:1", &members).unwrap(), NodeId(0x0a));
        assert_eq!(find("h:2", &members).unwrap_err().kind(), Kind::InvalidArgument);
        let error = find("h:3", &members).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.message().contains("address=`h:3`"), "{error}");
    }
}
