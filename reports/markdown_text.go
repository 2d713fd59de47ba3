package reports

import (
	"html"
	"strings"
)

// mdText makes foreign text plain in Markdown: nothing in it is a link, a tag, a
// cell of a table, or calls somebody's name. A blank of no width stands behind @ and
// #, because GitHub finds mentions after Markdown is done.
func mdText(s string) string {
	return mdEscaper().Replace(html.EscapeString(mdBound(oneLine(s))))
}

func mdEscaper() *strings.Replacer {
	pairs := []string{"@", "@\u200b", "#", "#\u200b", "://", ":\u200b//"}
	for _, c := range "\\`*_[]|~" {
		pairs = append(pairs, string(c), "\\"+string(c))
	}
	// Escaped above as an entity, which no # may break.
	return strings.NewReplacer(append([]string{"&#39;", "'", "&#34;", "\""}, pairs...)...)
}

func mdHTML(s string) string { return html.EscapeString(mdBound(oneLine(s))) }

// mdCode is text in a span of code that nothing in it can end.
func mdCode(s string) string {
	s = mdBound(oneLine(s))
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) == 1 {
		return fence + s + fence
	}
	return fence + " " + s + " " + fence
}

// mdFence is longer than any row of backquotes in the text.
func mdFence(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence
}

// mdBound keeps one text from taking the room of all others.
func mdBound(s string) string {
	const most = 2000
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + " …"
	}
	return s
}
