package show

import (
	"slices"
	"testing"
)

func TestCommandWithoutSecrets(t *testing.T) {
	got := Command([]string{"/usr/bin/erlmcp", "loadtest", "http://h/mcp?key=secret", "--header", "Authorization: secret", "--header=X-Key: secret", "--header", "secret", "100"})
	want := []string{"erlmcp", "loadtest", "http://h/mcp?…", "--header", "Authorization: …", "--header=X-Key: …", "--header", "…", "100"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
