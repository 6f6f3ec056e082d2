// Package dash is the dashboard of the admin listener: one page with its scripts and styles, all of
// it inside of the binary. It holds no data; its scripts fetch that from /events.
package dash

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
)

// ContentSecurityPolicy allows what the page needs: its own files, and talking to where it is from.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// The charts are drawn by uPlot, which is under the MIT licence (uplot/LICENSE).
//
//go:embed page uplot
var files embed.FS

// types are those of the files, whatever a machine's own tables say.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // LICENSE
}

// Page serves the page, at whatever path.
func Page() http.Handler { return serveFile("page/index.html") }

// Assets serves what the page refers to: /assets/page/… and /assets/uplot/….
func Assets() http.Handler {
	mux := http.NewServeMux()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && name != "page/index.html" {
			mux.Handle("/assets/"+name, serveFile(name))
		}
		return err
	})
	if err != nil {
		panic("dash: " + err.Error()) // the files are in the binary
	}
	return mux
}

// serveFile serves one file. Browsers keep it, and ask whether it is still the same.
func serveFile(name string) http.Handler {
	text, err := files.ReadFile(name)
	if err != nil {
		panic("dash: " + err.Error())
	}
	sum := sha256.Sum256(text)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind, ok := types[path.Ext(name)]
	if !ok {
		panic("dash: no type for " + name)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(text) // the client has gone
	})
}
