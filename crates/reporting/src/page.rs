//! Pages for browsers, each of which needs nothing beside it: no network, no other file, light and dark, wide and narrow.

/// Style that pages have in common: colours, text, tables that scroll where they are too wide, pictures with a caption.
pub const STYLE: &str = ":root{--text:#1a1a1a;--page:#fff;--line:#ddd;--block:#f4f4f4;--quiet:#5c5c5c;--accent:#00528a;--bad:#b3261e;\
--shade:0,82,130}\
@media (prefers-color-scheme:dark){:root{--text:#ddd;--page:#16181d;--line:#3a3d44;--block:#22252b;--quiet:#a0a4ab;--accent:#7ab8f0;\
--bad:#ff8a80;--shade:40,110,175}}\
*{box-sizing:border-box}body{font:15px/1.45 sans-serif;max-width:1200px;margin:1.5em auto;padding:0 1em;color:var(--text);\
background:var(--page)}a{color:var(--accent)}\
h1{font-size:22px;overflow-wrap:anywhere}h2{font-size:18px;margin-top:1.6em}code{overflow-wrap:anywhere;font-size:13px}\
.wide{overflow-x:auto}table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right;white-space:nowrap}\
td,tbody th{border-top:1px solid var(--line)}th:first-child{text-align:left}\
tbody th{white-space:normal;overflow-wrap:break-word;max-width:11em;line-height:1.2}@media (min-width:700px){tbody th{max-width:24em}}\
figure{display:inline-block;margin:4px;width:110px;font-size:12px;vertical-align:top;overflow-wrap:anywhere}\
figure img{width:84px;height:84px;object-fit:contain}pre{background:var(--block);padding:1em;overflow:auto}";

/// A page: its title, which is text, a style beside [`STYLE`], and a body, which is HTML.
pub fn html(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}{style}</style>\n\
         <h1>{title}</h1>\n{body}</html>\n"
    )
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Rows of a table that may be wider than the page, which then scrolls.
pub fn table(class: &str, head: &str, rows: &str) -> String {
    format!(
        "<div class=\"wide\"><table class=\"{class}\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// Cells of a row, `td` or `th`, of HTML.
pub fn cells(tag: &str, cells: &[String]) -> String {
    cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        let page = html("<a&b>", "i{}", "<p>x</p>");
        assert!(
            page.contains("<title>&lt;a&amp;b&gt;</title>")
                && page.contains("<h1>&lt;a&amp;b&gt;</h1>\n<p>x</p></html>")
        );
        assert_eq!(escape("\"'"), "&quot;'");
        assert_eq!(cells("td", &["1".into(), "2".into()]), "<td>1</td><td>2</td>");
    }

    /// Relative luminance by the Web Content Accessibility Guidelines 2.2.
    fn luminance(colour: &str) -> f64 {
        let digits = colour.trim_start_matches('#');
        let value = |place: usize| {
            let text = if digits.len() == 3 {
                digits[place..=place].repeat(2)
            } else {
                digits[2 * place..2 * place + 2].into()
            };
            let value = f64::from(u8::from_str_radix(&text, 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * value(0) + 0.7152 * value(1) + 0.0722 * value(2)
    }

    #[test]
    fn text_can_be_read_on_a_light_page_and_on_a_dark_one() {
        let (light, dark) = STYLE.split_once("@media (prefers-color-scheme:dark)").unwrap();
        for style in [light, dark] {
            let colour = |name: &str| {
                let (_, rest) = style.split_once(&format!("--{name}:")).unwrap();
                luminance(rest.split([';', '}']).next().unwrap()) + 0.05
            };
            for text in ["text", "quiet", "accent", "bad"] {
                for ground in ["page", "block"] {
                    let [one, other] = [colour(text), colour(ground)];
                    assert!(f64::max(one / other, other / one) >= 4.5, "{text} on {ground}");
                }
            }
        }
    }
}
