package proxytest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

// Browse opens a page, or skips the test where no browser is installed.
func Browse(t *testing.T, url string) *Browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium is installed: the page is not tested in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which does not work as root
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &Browser{t: t, Context: ctx, URL: url}
	p.Do(chromedp.EmulateViewport(1280, 900))
	console := chromedp.Console(ctx)
	listening, stop := context.WithCancel(ctx)
	var listener sync.WaitGroup
	listener.Go(func() {
		for message, err := range console {
			if err != nil || listening.Err() != nil {
				return
			}
			p.mu.Lock()
			p.messages = append(p.messages, message.String())
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() { stop(); cancel(); listener.Wait() })
	p.Do(chromedp.Navigate(p.URL))
	return p
}

// Browser is a page in a real browser.
type Browser struct {
	t       *testing.T
	Context context.Context // of the page, for chromedp
	URL     string          // that was opened

	mu       sync.Mutex
	messages []string // of the console
}

// Do takes steps in the page.
func (p *Browser) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.Context, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// Text is what an expression of JavaScript evaluates to, as a string.
func (p *Browser) Text(expression string) string {
	p.t.Helper()
	text, err := chromedp.Run(p.Context, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// Eventually waits until Text of an expression is want.
func (p *Browser) Eventually(expression, want string) {
	p.t.Helper()
	var got string
	if !waittest.Within(20*time.Second, func() bool { got = p.Text(expression); return got == want }) {
		p.t.Fatalf("%s is %q, want %q; the console says %q", expression, got, want, p.console())
	}
}

func (p *Browser) console() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.messages, "\n")
}

// Silent asserts that the console has nothing but what contains one of known.
func (p *Browser) Silent(known ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
messages:
	for _, m := range p.messages {
		for _, k := range known {
			if strings.Contains(m, k) {
				continue messages
			}
		}
		p.t.Errorf("the console says %s", m)
	}
}

// Press clicks a button when it does not wait for the outcome of an earlier click any more.
func (p *Browser) Press(label string) {
	p.t.Helper()
	button := fmt.Sprintf(`button[aria-label=%q]`, label)
	p.Eventually(fmt.Sprintf("document.querySelector(%q)?.getAttribute('aria-disabled')", button), "null")
	p.Do(chromedp.Click(chromedp.CSS(button)))
}
