//! POSIX ACLs as text (acl(5), as star and GNU tar keep them in SCHILY.acl.access) and as the kernel has them
//! (linux/posix_acl_xattr.h): a version, then tag, permissions and id of each entry, little endian.

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id of entries that name nobody.
const NO_ID: u32 = u32::MAX;

/// The most entries that we read from text: the kernel takes some thousand.
const LIMIT: usize = 4096;

/// The text of an ACL as the kernel has it, ids as numbers; `None` if that is none.
pub fn to_text(acl: &[u8]) -> Option<String> {
    let (version, entries) = acl.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() || entries.is_empty() {
        return None;
    }
    let mut words = Vec::with_capacity(entries.len());
    for [tag_0, tag_1, permissions, _, id @ ..] in entries {
        let id = u32::from_le_bytes(*id);
        let name = match u16::from_le_bytes([*tag_0, *tag_1]) {
            USER_OBJ => "user:".to_owned(),
            USER => format!("user:{id}"),
            GROUP_OBJ => "group:".to_owned(),
            GROUP => format!("group:{id}"),
            MASK => "mask:".to_owned(),
            OTHER => "other:".to_owned(),
            _ => return None,
        };
        let bit = |bit: u8, letter: char| if permissions & bit == 0 { '-' } else { letter };
        words.push(format!("{name}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x')));
    }
    Some(words.join(","))
}

/// An ACL as the kernel has it, from text. `None` if it is none, or names users by name alone: whose names those are
/// nobody knows here. star and bsdtar add the number as a fourth field.
pub fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries = Vec::new();
    for word in text.split([',', '\n']).map(|word| word.split('#').next().unwrap_or_default().trim()) {
        if word.is_empty() {
            continue;
        }
        let mut fields = word.split(':');
        let (kind, name) = (fields.next()?, fields.next()?);
        let letters = fields.next()?;
        let (tag, named) = match (kind, name.is_empty()) {
            ("user" | "u", true) => (USER_OBJ, false),
            ("user" | "u", false) => (USER, true),
            ("group" | "g", true) => (GROUP_OBJ, false),
            ("group" | "g", false) => (GROUP, true),
            ("mask" | "m", true) => (MASK, false),
            ("other" | "o", true) => (OTHER, false),
            _ => return None,
        };
        let id = match (named, fields.next()) {
            (false, _) => NO_ID,
            (true, Some(number)) => number.parse().ok()?,
            (true, None) => name.parse().ok()?,
        };
        let mut permissions = 0_u8;
        for letter in letters.chars() {
            permissions |= match letter {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        entries.push((tag, id, permissions));
        if entries.len() > LIMIT {
            return None;
        }
    }
    if entries.is_empty() {
        return None;
    }
    // The order that the kernel wants is that of the tags, and of ids within one.
    entries.sort_unstable();
    let mut acl = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend([permissions, 0]);
        acl.extend(id.to_le_bytes());
    }
    Some(acl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "user::rw-,user:1000:r--,group::r-x,group:5:-w-,mask::rwx,other::---";
        let acl = from_text(text.as_bytes()).unwrap();
        assert_eq!(acl.len(), 4 + 6 * 8);
        assert_eq!(to_text(&acl).as_deref(), Some(text));
    }

    #[test]
    fn texts_of_others() {
        let rows = [
            ("user::rw-\nuser:7:rwx\nother::r--\n", Some("user::rw-,user:7:rwx,other::r--")),
            ("other::r--,user:joe:rwx:7,user::rw-", Some("user::rw-,user:7:rwx,other::r--")),
            ("u::rw,o::r # everybody", Some("user::rw-,other::r--")),
            ("user:joe:rwx", None),
            ("user::rwz", None),
            ("mask:7:rwx", None),
            ("nonsense", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let read = from_text(text.as_bytes()).and_then(|acl| to_text(&acl));
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_acl() {
        for bytes in [b"".as_slice(), &[2, 0, 0, 0], &[3, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 1]]
        {
            assert_eq!(to_text(bytes), None);
        }
    }
}
