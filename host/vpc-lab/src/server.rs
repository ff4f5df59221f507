//! The lab's process: EC2 and instance metadata answer inside the VPC, and the network follows every call.

mod control;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::world::World;
use crate::fabric::{Fabric, FabricError, Footprint};
use crate::lab::landscape::{EC2_ADDRESS, IMDS_ADDRESS, Landscape};
use crate::lab::region::{Region, RegionError};
use crate::{imds, wire};

/// The port of both endpoints, as on AWS.
const HTTP: u16 = 80;
/// How often the network looks at the model when no call makes it: ENIs come and go by themselves, and a
/// failed change wants another try.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);

/// What to serve.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) landscape: Landscape,
    pub(crate) footprint: Footprint,
    /// Where the control socket goes.
    pub(crate) control: PathBuf,
}

/// Why the lab's process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The model refused the landscape.
    #[error("build the region")]
    Region(#[from] RegionError),
    /// The network could not be built.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// A namespace, an address or a socket.
    #[error("{attempt}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Builds the network, moves into the VPC and serves until told to stop. Leaves the network up.
///
/// The calling thread stays in the VPC's namespace.
pub(crate) fn serve(plan: Plan) -> Result<(), ServeError> {
    let failed = |attempt: String| move |source| ServeError::Io { attempt, source };
    let region = Region::build(&plan.landscape, wire::now())?;
    let fabric = Fabric::up(plan.footprint, &world::ground(&region.ec2, &region.vpc))?;
    let vpc = fabric.footprint().vpc.clone();
    let world = Arc::new(World::new(plan.name, region, fabric));
    world.settle();
    vpc.enter().map_err(failed(format!("move into {vpc}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("start the runtime".to_owned()))?;
    runtime.block_on(run(world, plan.control))
}

async fn run(world: Arc<World>, control: PathBuf) -> Result<(), ServeError> {
    let failed = |attempt: String| move |source| ServeError::Io { attempt, source };
    let stop = Arc::new(Notify::new());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("listen for SIGTERM".to_owned()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("listen for SIGINT".to_owned()))?;
    let ec2 = listen(EC2_ADDRESS).await?;
    let metadata = listen(IMDS_ADDRESS).await?;
    // Last: who can ask for the status can use the endpoints.
    let doorway =
        control::bind(&control).map_err(failed(format!("open the control socket {}", control.display())))?;
    let end = tokio::select! {
        biased;
        () = stop.notified() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        error = control::answer_all(doorway, Arc::clone(&world), Arc::clone(&stop)) => {
            Err(failed("answer the control socket".to_owned())(error))
        }
        error = answer(ec2, wire::router(world.ec2()), &world) => Err(failed("answer EC2 calls".to_owned())(error)),
        error = answer(metadata, imds::router(world.ec2()), &world) => {
            Err(failed("answer metadata requests".to_owned())(error))
        }
        () = follow(&world) => Ok(()),
    };
    tracing::info!("the lab stops");
    end
}

async fn listen(address: Ipv4Addr) -> Result<TcpListener, ServeError> {
    let listening = TcpListener::bind(SocketAddrV4::new(address, HTTP)).await;
    listening.map_err(|source| ServeError::Io { attempt: format!("listen on {address}:{HTTP}"), source })
}

/// Serves one endpoint; an answer leaves when the network shows what it promises.
async fn answer(listener: TcpListener, router: Router, world: &Arc<World>) -> io::Error {
    let router = router.layer(from_fn_with_state(Arc::clone(world), settled));
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    match axum::serve(listener, service).await {
        Ok(()) => io::Error::other("the listener ended"),
        Err(error) => error,
    }
}

async fn settled(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    settle(&world).await;
    response
}

/// Follows what happens by itself, for ever.
async fn follow(world: &Arc<World>) {
    loop {
        let due = world.next_change().map(|at| at.since(wire::now()));
        sleep(due.unwrap_or(FOLLOW_EVERY).min(FOLLOW_EVERY)).await;
        settle(world).await;
    }
}

/// The network's tools block; the endpoints must not.
async fn settle(world: &Arc<World>) {
    let world = Arc::clone(world);
    if let Err(error) = spawn_blocking(move || world.settle()).await {
        tracing::error!(%error, "following EC2 broke off");
    }
}
