package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// TestTestssl has testssl.sh judge the https listener. Whatever it has to say beyond OK and INFO fails, but for what
// the certificate of a test is and what crypto/tls does not let its users choose.
func TestTestssl(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	program, err := exec.LookPath("testssl")
	if err != nil {
		if program, err = exec.LookPath("testssl.sh"); err != nil {
			t.Skip("testssl.sh is not installed")
		}
	}
	t.Parallel() // it mostly waits
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })}, func(s *proxy.Spec) {
		s.TLS.HSTS = "max-age=63072000"
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0
	})
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	report := filepath.Join(t.TempDir(), "report.json")
	// Protocols, kinds of suites, forward secrecy, preferences, defaults, headers, vulnerabilities.
	cmd := exec.CommandContext(ctx, program, "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--jsonfile", report,
		"-p", "-s", "-f", "-P", "-S", "-h", "-U", "https://"+strings.Replace(b.Secure, "127.0.0.1", "localhost", 1)+"/")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput() // its status is the number of findings
	if ctx.Err() != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, f := range findings {
		seen[f.ID] = f.Severity
		switch {
		case f.Severity == "OK", f.Severity == "INFO":
		case strings.HasPrefix(f.ID, "cert"), f.ID == "DNS_CAArecord": // of the certificate
		case f.ID == "engine_problem": // of the machine
		case f.ID == "TLS_session_ticket" && f.Severity == "LOW":
			// crypto/tls says of every ticket of TLS 1.3 that it is good for a week. The keys are gone within a day.
		default:
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	for _, id := range []string{"TLS1_2", "TLS1_3", "HSTS_time", "heartbleed"} {
		if !slices.Contains([]string{"OK", "INFO"}, seen[id]) {
			t.Errorf("%s is %q: did it look?", id, seen[id])
		}
	}
}
