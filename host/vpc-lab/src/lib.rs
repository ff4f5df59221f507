//! A VPC on one Linux box: the model of EC2 behind its real wire, and a network made of namespaces.
//!
//! Unmodified clients (the AWS SDK, boto3, the AWS CLI) talk to the endpoints; attached ENIs appear as links
//! in a node's namespace; a router delivers by address ownership and drops what AWS would drop. It never
//! decides anything about pods, never touches a namespace it did not name itself, and nothing leaves the
//! machine.
//!
//! Map: [`lab`] a lab by name: up, status, exec, down · `server` its process · [`fabric`] the network as desired
//! state · [`namespace`] named namespaces · [`iproute`] batches of `ip` and `nft` · [`probe`] connectivity as
//! seen from inside a namespace · `residents` who still lives in one · [`requirements`] what the machine must
//! offer · [`waiting`] conditions with deadlines · [`wire`] the EC2 Query API · [`imds`] instance metadata.
#![forbid(unsafe_code)]

pub mod fabric;
pub mod imds;
pub mod iproute;
pub mod lab;
pub mod namespace;
pub mod probe;
pub mod requirements;
mod residents;
pub mod server;
pub mod waiting;
pub mod wire;
