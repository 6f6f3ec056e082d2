package report

import (
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"html/template"
	"io"

	"github.com/erlmcp/erlmcp/loadtest"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pages = template.Must(template.New("page").Parse(pageText))

// Head is what the head of a page has.
type Head struct {
	Title  string
	Policy string       // nothing may be fetched, nothing runs, and the one style is known by its sum
	Style  template.CSS //nolint:gosec // it is in the binary
}

// NewHead is that of a page of this package's style.
func NewHead(title string) Head {
	sum := sha256.Sum256([]byte(pageStyle))
	return Head{
		Title:  title,
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; form-action 'none'",
		Style:  template.CSS(pageStyle), //nolint:gosec // it is in the binary
	}
}

// HTML writes one page with everything. It fetches nothing, needs no script, and may be printed.
func HTML(out io.Writer, r *loadtest.Report) error {
	return pages.ExecuteTemplate(out, "report", newPage(r))
}

// Template is the page's templates with one more, which may use "head", "logo" and "table".
func Template(text string) *template.Template {
	return template.Must(template.Must(pages.Clone()).Parse(text))
}
