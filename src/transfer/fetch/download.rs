//! A download, on a thread of its own.

use std::io::Read;

use super::location::shown;
use super::stream::{Gone, Outlet, Source};
use super::{Client, Error, FetchOptions, Request};

/// What is to be downloaded.
pub(super) struct Download {
    pub(super) url: reqwest::Url,
    pub(super) options: FetchOptions,
}

impl Source for Download {
    fn run(self, outlet: &mut Outlet) -> Result<(), crate::transfer::Error> {
        let mut request = Request::get(self.url.clone());
        request.stall = self.options.stall;
        request.headers.clone_from(&self.options.headers);
        let mut response = Client::shared()?.get(&request)?.successful()?;
        if outlet.begin(response.length()).is_err() {
            return Ok(());
        }
        loop {
            let mut buffer = outlet.buffer();
            match response.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    buffer.truncate(length);
                    if let Err(Gone) = outlet.send(buffer) {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let (url, at) = (shown(&self.url), outlet.sent());
                    return Err(Error::Broken { url, at, tries: 1, why: error.to_string() }.into());
                }
            }
        }
    }
}
