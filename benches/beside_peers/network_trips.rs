//! Round trips of a byte between a program of the host and one in a machine's network, as netperf's TCP_RR and UDP_RR.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::network_contenders::Path;
use super::network_host::PATIENCE;

/// How long one run is.
const RUN: Duration = Duration::from_millis(150);

/// Round trips between two looks at the clock.
const BATCH: u32 = 50;

/// The first two processors that we may use; the same twice where there is one.
pub(crate) fn processors() -> io::Result<(usize, usize)> {
    let all = sched_getaffinity(None)?;
    let mut ours = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor));
    let first = ours.next().unwrap_or(0);
    Ok((first, ours.next().unwrap_or(first)))
}

/// The mean of one run. The machine's end is a thread of ours, with a socket of its network.
pub(crate) fn round_trip(
    path: &Path<'_>,
    udp: bool,
    one_processor: bool,
) -> Result<Duration, Box<dyn Error>> {
    let at = SocketAddrV4::new(path.address, 0);
    if udp {
        let server = path.guest.within(|| UdpSocket::bind(at))??;
        let client = path.host.within(|| UdpSocket::bind((path.gateway, 0)))??;
        client.connect(server.local_addr()?)?;
        server.connect(client.local_addr()?)?;
        client.set_read_timeout(Some(PATIENCE))?;
        server.set_read_timeout(Some(PATIENCE))?;
        let echo = |byte: &mut [u8]| {
            let length = server.recv(byte)?;
            server.send(byte.get(..length).unwrap_or_default())
        };
        let once = |byte: &mut [u8]| client.send(byte).and_then(|_| client.recv(byte)).map(drop);
        return trips(one_processor, echo, once, || client.send(&[]).map(drop));
    }
    let server = path.guest.within(|| TcpListener::bind(at))??;
    let address = server.local_addr()?;
    let client = path.host.within(|| TcpStream::connect_timeout(&address, PATIENCE))??;
    let served = server.accept()?.0;
    client.set_nodelay(true)?;
    served.set_nodelay(true)?;
    let echo = |byte: &mut [u8]| {
        let length = (&served).read(byte)?;
        (&served).write(byte.get(..length).unwrap_or_default())
    };
    let once = |byte: &mut [u8]| (&client).write(byte).and_then(|_| (&client).read(byte)).map(drop);
    trips(one_processor, echo, once, || client.shutdown(Shutdown::Write))
}

/// Has a thread answer with `echo` until it says that it answered nothing, which is what `end` is for.
fn trips(
    one_processor: bool,
    mut echo: impl FnMut(&mut [u8]) -> io::Result<usize> + Send,
    mut once: impl FnMut(&mut [u8]) -> io::Result<()>,
    end: impl FnOnce() -> io::Result<()>,
) -> Result<Duration, Box<dyn Error>> {
    let all = sched_getaffinity(None)?;
    let (here, there) = processors()?;
    let mean = std::thread::scope(|scope| {
        let answers = scope.spawn(move || -> io::Result<()> {
            stay_on(if one_processor { here } else { there })?;
            while echo(&mut [0])? > 0 {}
            Ok(())
        });
        let mean = stay_on(here).and_then(|()| timed(&mut once));
        end()?;
        answers.join().map_err(|_| io::Error::other("the thread that answers panicked"))??;
        mean
    });
    sched_setaffinity(None, &all)?;
    Ok(mean?)
}

fn timed(once: &mut impl FnMut(&mut [u8]) -> io::Result<()>) -> io::Result<Duration> {
    // The first ones find neighbours and make connections known.
    (0..BATCH).try_for_each(|_| once(&mut [1]))?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < RUN {
        (0..BATCH).try_for_each(|_| once(&mut [1]))?;
        count += BATCH;
    }
    Ok(begun.elapsed() / count)
}

fn stay_on(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}
