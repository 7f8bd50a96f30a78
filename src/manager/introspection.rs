//! What an object says of itself, without all that is below it.
//!
//! zbus writes the whole tree below an object into the answer to Introspect. The specification does with the names of what is one
//! level below ("Introspection Format": a child need not be described); with five hundred machines the whole would be megabytes, and
//! busctl(1) stumbles over it: in what is nested it takes the direction of a method's last argument for that of the next signal's.

use zbus::message::{Message, Type};

/// How zbus begins such an answer.
const BEGIN: &str = "\n<!DOCTYPE node PUBLIC";

/// The same answer with names alone for what is below the object; `None` for any other message, and where there is nothing below.
pub fn shallow_answer(message: &Message) -> Option<Message> {
    if message.message_type() != Type::MethodReturn || message.body().signature() != "s" {
        return None;
    }
    let body = message.body();
    let xml = body.deserialize::<&str>().ok().filter(|text| text.starts_with(BEGIN))?;
    let xml = shallow(xml)?;
    let header = message.header();
    let mut answer = Message::method_return(&header)
        .serial(header.primary().serial_num())
        .reply_serial(header.reply_serial())
        .with_flags(header.primary().flags());
    if let Some(destination) = header.destination() {
        answer = answer.destination(destination.clone());
    }
    answer.build(&xml).ok()
}

/// `xml`, which has a tag a line, with `<node name="NAME"/>` for each node in the outermost one; `None` where there is none.
fn shallow(xml: &str) -> Option<String> {
    let mut result = String::with_capacity(xml.len());
    let (mut depth, mut comment, mut cut) = (0_u32, false, false);
    for line in xml.lines() {
        let tag = line.trim_start();
        // What is in a comment is words.
        comment |= tag.starts_with("<!--");
        let (opens, closes) = (!comment && tag.starts_with("<node"), !comment && tag.starts_with("</node"));
        comment &= !tag.ends_with("-->");
        if closes {
            depth = depth.saturating_sub(1);
        }
        match depth {
            0 => result.push_str(line),
            1 if opens => {
                result.push_str(line.trim_end_matches('>'));
                result.push_str("/>");
                cut = true;
            }
            1 if !closes => result.push_str(line),
            _ => {}
        }
        if depth == 0 || (depth == 1 && !closes) {
            result.push('\n');
        }
        if opens {
            depth += 1;
        }
    }
    cut.then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "
<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"
 \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">
<node>
  <interface name=\"org.x.Y\">
    <!--
     Tells of a
     <node> below.
     -->
    <method name=\"M\">
    </method>
  </interface>
  <node name=\"a\">
    <interface name=\"org.x.Z\">
    </interface>
    <node name=\"b\">
      <interface name=\"org.x.Z\">
      </interface>
    </node>
  </node>
  <node name=\"c\">
  </node>
</node>
";

    const SHALLOW: &str = "
<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"
 \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">
<node>
  <interface name=\"org.x.Y\">
    <!--
     Tells of a
     <node> below.
     -->
    <method name=\"M\">
    </method>
  </interface>
  <node name=\"a\"/>
  <node name=\"c\"/>
</node>
";

    #[test]
    fn names_alone() {
        assert_eq!(shallow(WHOLE).as_deref(), Some(SHALLOW));
        assert_eq!(
            shallow(SHALLOW.replace("  <node name=\"a\"/>\n  <node name=\"c\"/>\n", "").as_str()),
            None
        );
    }

    #[test]
    fn answers() {
        let call = Message::method_call("/a", "Introspect").sender(":1.7").build(&()).unwrap();
        let whole = Message::method_return(&call.header()).build(&WHOLE).unwrap();
        let answer = shallow_answer(&whole).unwrap();
        assert_eq!(answer.body().deserialize::<&str>().unwrap(), SHALLOW);
        assert_eq!(answer.header().destination(), whole.header().destination());
        assert_eq!(answer.header().reply_serial(), Some(call.primary_header().serial_num()));
        assert_eq!(answer.primary_header().serial_num(), whole.primary_header().serial_num());
        for other in [
            Message::method_return(&call.header()).build(&"text").unwrap(),
            Message::method_return(&call.header()).build(&7u32).unwrap(),
            call.clone(),
        ] {
            assert!(shallow_answer(&other).is_none());
        }
    }
}
