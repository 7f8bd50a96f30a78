//! Which of several manifests is for this host (image-spec, image-index.md; Go's words for architectures).

use super::Error;
use super::document::{Descriptor, Platform};

/// What Go calls the architecture that uname(2) calls `machine`.
pub fn go_architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" | "i586" | "i386" | "x86" => "386",
        "armv7l" | "armv8l" | "arm" => "arm",
        "loongarch64" => "loong64",
        "powerpc64le" => "ppc64le",
        other => other,
    }
}

/// The manifest for `architecture` (Go's word). One without a variant is better than one that asks for a newer
/// processor: `amd64` before `amd64/v3`; of arm, `v7` before `v6` before `v5`.
///
/// # Errors
/// [`Error::Platform`] names those that there are.
pub fn choose<'a>(images: &'a [Descriptor], architecture: &str) -> Result<&'a Descriptor, Error> {
    let fits = |platform: &Platform| {
        platform.architecture == architecture && (platform.os.is_empty() || platform.os == "linux")
    };
    let fitting = images.iter().filter(|image| match &image.platform {
        Some(platform) => fits(platform),
        // An index of a layout need not say, if there is but one.
        None => images.len() == 1,
    });
    fitting.min_by_key(|image| rank(image.platform.as_ref())).ok_or_else(|| {
        let mut there: Vec<String> =
            images.iter().filter_map(|image| image.platform.as_ref()).map(shown).collect();
        // Attestations of builds stand among the images.
        there.retain(|platform| platform != "unknown/unknown");
        there.dedup();
        Error::Platform { architecture: architecture.to_owned(), there }
    })
}

/// The smaller, the better.
fn rank(platform: Option<&Platform>) -> (u32, String) {
    let variant = platform.and_then(|platform| platform.variant.clone()).unwrap_or_default();
    let rank = match (platform.map(|platform| platform.architecture.as_str()), variant.as_str()) {
        (_, "") => 0,
        (Some("arm"), "v7") => 1,
        (Some("arm"), "v6") => 2,
        (Some("arm"), "v5") => 3,
        (Some("arm64"), "v8") => 1,
        _ => 9,
    };
    (rank, variant)
}

fn shown(platform: &Platform) -> String {
    let variant = platform.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::Digest;

    fn image(number: u8, platform: &str) -> Descriptor {
        let mut parts = platform.split('/').map(str::to_owned);
        let platform = (!platform.is_empty()).then(|| Platform {
            os: parts.next().unwrap_or_default(),
            architecture: parts.next().unwrap_or_default(),
            variant: parts.next(),
        });
        let media_type = String::new();
        Descriptor {
            media_type,
            digest: Digest([number; 32]),
            size: 1,
            platform,
            annotations: Default::default(),
        }
    }

    #[test]
    fn chosen() {
        let rows: [(&[&str], &str, Option<usize>); 8] = [
            (&["linux/amd64", "linux/arm64/v8"], "amd64", Some(0)),
            (&["linux/amd64", "linux/arm64/v8"], "arm64", Some(1)),
            (&["linux/amd64/v3", "linux/amd64"], "amd64", Some(1)),
            (&["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "arm", Some(1)),
            (&["windows/amd64", "linux/amd64"], "amd64", Some(1)),
            (&[""], "amd64", Some(0)),
            (&["", ""], "amd64", None),
            (&["linux/s390x", "unknown/unknown"], "amd64", None),
        ];
        for (platforms, architecture, expected) in rows {
            let images: Vec<_> =
                (0..).zip(platforms).map(|(number, platform)| image(number, platform)).collect();
            let found = choose(&images, architecture).ok().map(|image| usize::from(image.digest.0[0]));
            assert_eq!(found, expected, "{platforms:?} {architecture}");
        }
        let error =
            choose(&[image(0, "linux/s390x"), image(1, "unknown/unknown")], "amd64").expect_err("none");
        assert_eq!(error.to_string(), "the image is not there for amd64, only for linux/s390x");
    }
}
