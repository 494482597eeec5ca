//! The list of what is in an image, as an SPDX 2.3 document.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::root::Root;
use crate::time::rfc3339;

/// Something in an image that no package manager of the distribution has put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its package URL, `pkg:generic/cpython@3.13.5`.
    pub purl: String,
    /// Where it was had from.
    pub origin: Option<String>,
    /// The SHA-256 of what was had, in hexadecimal digits.
    pub sha256: Option<String>,
    /// Its licence, as SPDX names it.
    pub license: Option<&'static str>,
}

/// The packages that dpkg has installed in a root.
///
/// # Errors
/// When dpkg's list is there and cannot be read.
pub fn debian_packages(root: &Root) -> io::Result<Vec<Component>> {
    let Ok(list) = root.find(Path::new("/var/lib/dpkg/status")) else {
        return Ok(Vec::new());
    };
    let distribution = distribution(root);
    let text = fs_err::read_to_string(list)?;
    Ok(text
        .split("\n\n")
        .filter_map(|paragraph| package(paragraph, &distribution))
        .collect())
}

fn package(paragraph: &str, distribution: &str) -> Option<Component> {
    let field = |name: &str| {
        let line = paragraph.lines().find(|line| line.starts_with(name))?;
        line[name.len()..].strip_prefix(':').map(str::trim)
    };
    if !field("Status")?.ends_with(" installed") {
        return None;
    }
    let (name, version) = (field("Package")?, field("Version")?);
    let architecture = field("Architecture")?;
    // A package URL keeps `:` and `+` for itself.
    let quoted = version.replace(':', "%3A").replace('+', "%2B");
    Some(Component {
        name: name.to_owned(),
        version: version.to_owned(),
        purl: format!(
            "pkg:deb/debian/{}@{quoted}?arch={architecture}&distro={distribution}",
            name.replace('+', "%2B")
        ),
        origin: None,
        sha256: None,
        license: None,
    })
}

/// `debian-12`, from the root's own description of itself.
fn distribution(root: &Root) -> String {
    let file = root.find(Path::new("/etc/os-release"));
    let file = file.or_else(|_| root.find(Path::new("/usr/lib/os-release")));
    let text = file.and_then(fs_err::read_to_string).unwrap_or_default();
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim_matches('"').to_owned())
    };
    let name = field("ID=").unwrap_or_else(|| "debian".to_owned());
    match field("VERSION_ID=").or_else(|| field("VERSION_CODENAME=")) {
        Some(version) => format!("{name}-{version}"),
        None => name,
    }
}

/// An SPDX document about an image called `name`. The same components give the same document.
#[must_use]
pub fn spdx(name: &str, components: &[Component], newest_s: u64) -> Value {
    let packages: Vec<Value> = components
        .iter()
        .enumerate()
        .map(|(index, component)| describe(index, component))
        .collect();
    let content = Value::from(packages.clone()).to_string();
    let relationships: Vec<Value> = (0..components.len())
        .map(|index| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": id(index),
            })
        })
        .collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/gilbuild-{}", Digest::of(content.as_bytes()).hex()),
        "creationInfo": {
            "created": rfc3339(newest_s),
            "creators": [format!("Tool: gilbuild-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
    })
}

fn id(index: usize) -> String {
    format!("SPDXRef-Package-{index}")
}

fn describe(index: usize, component: &Component) -> Value {
    let unknown = || "NOASSERTION".to_owned();
    let mut package = json!({
        "SPDXID": id(index),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": component.origin.clone().filter(|origin| origin.contains("://")).unwrap_or_else(unknown),
        "filesAnalyzed": false,
        "licenseConcluded": component.license.map_or_else(unknown, str::to_owned),
        "licenseDeclared": component.license.map_or_else(unknown, str::to_owned),
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": component.purl,
        }],
    });
    if let Some(sum) = &component.sha256 {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sum }]);
    }
    package
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed_and_no_others() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        fs_err::create_dir_all(root.path().join("var/lib/dpkg"))?;
        fs_err::create_dir_all(root.path().join("usr/lib"))?;
        fs_err::write(
            root.path().join("usr/lib/os-release"),
            "ID=debian\nVERSION_ID=\"12\"\n",
        )?;
        fs_err::write(
            root.path().join("var/lib/dpkg/status"),
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u1\n\n\
             Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
             Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2025b\n",
        )?;
        let packages = debian_packages(&Root::new(root.path())?)?;
        let urls: Vec<&str> = packages
            .iter()
            .map(|package| package.purl.as_str())
            .collect();
        assert_eq!(
            urls,
            [
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12",
                "pkg:deb/debian/tzdata@1%3A2025b?arch=all&distro=debian-12",
            ]
        );
        let document = spdx("image", &packages, 0);
        assert_eq!(document["packages"][0]["versionInfo"], "2.36-9+deb12u1");
        assert_eq!(document, spdx("image", &packages, 0));
        Ok(())
    }
}
