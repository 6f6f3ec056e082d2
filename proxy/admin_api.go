package proxy

import (
	"net/http"

	"github.com/erlmcp/erlmcp/internal/control"
)

// adminAPI is the commands of the admin listener, for those who have shown the token.
func (m *master) adminAPI() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := answer(r)
			if err != nil {
				control.Fail(w, err)
				return
			}
			control.Reply(w, http.StatusOK, v)
		})
	}
	handle("/api/token", func(*http.Request) (any, error) { return nil, nil }) // it is right, or this is not reached
	for verb, to := range map[string]adminState{"drain": adminDrained, "disable": adminDisabled, "enable": adminReady} {
		handle("/api/nodes/{name}/"+verb, func(r *http.Request) (any, error) { return m.administer(r.PathValue("name"), to) })
	}
	handle("/api/unban", func(r *http.Request) (any, error) {
		_, source, err := readSource(r)
		if err != nil {
			return nil, err
		}
		return nil, m.unban(source)
	})
	return mux
}
