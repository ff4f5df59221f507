//! Writing XML as EC2 does: elements and text, no attributes but the namespace.

/// A document or a part of one.
#[derive(Debug, Default)]
pub(super) struct Xml {
    text: String,
}

impl Xml {
    /// An empty document.
    pub(super) fn document() -> Xml {
        Xml { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// The root with its namespace.
    pub(super) fn root(&mut self, name: &str, namespace: &str, inside: impl FnOnce(&mut Xml)) {
        self.text += &format!("<{name} xmlns=\"{namespace}\">");
        inside(self);
        self.text += &format!("</{name}>");
    }

    /// An element with others inside.
    pub(super) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Xml)) {
        self.text += &format!("<{name}>");
        inside(self);
        self.text += &format!("</{name}>");
    }

    /// An element with text inside.
    pub(super) fn leaf(&mut self, name: &str, value: impl ToString) {
        self.element(name, |xml| {
            for c in value.to_string().chars() {
                match c {
                    '&' => xml.text += "&amp;",
                    '<' => xml.text += "&lt;",
                    '>' => xml.text += "&gt;",
                    // A parser would turn a bare one into a line feed.
                    '\r' => xml.text += "&#13;",
                    other => xml.text.push(other),
                }
            }
        });
    }

    /// `name` with one `item` per thing.
    pub(super) fn set<T>(
        &mut self,
        name: &str,
        things: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Xml, T),
    ) {
        self.element(name, |xml| {
            for thing in things {
                xml.element("item", |xml| write(xml, thing));
            }
        });
    }

    /// `name` with one `item` per text.
    pub(super) fn texts(&mut self, name: &str, texts: impl IntoIterator<Item = impl ToString>) {
        self.element(name, |xml| texts.into_iter().for_each(|text| xml.leaf("item", text)));
    }

    /// `nextToken`, if there is a next page.
    pub(super) fn next_token(&mut self, token: Option<&str>) {
        if let Some(token) = token {
            self.leaf("nextToken", token);
        }
    }

    pub(super) fn append(&mut self, part: Xml) {
        self.text += &part.text;
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
