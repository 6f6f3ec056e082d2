package proxy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser is the page of an admin listener in a real browser.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	messages []string // of the console
}

// browse opens a page and skips the test where no browser is installed.
func browse(t *testing.T, url string) *browser {
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
	p := &browser{t: t, ctx: ctx, url: url}
	p.do(chromedp.EmulateViewport(1280, 900))
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
	p.do(chromedp.Navigate(p.url))
	return p
}

func (p *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// text evaluates an expression of JavaScript.
func (p *browser) text(expression string) string {
	p.t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// eventually waits for an expression to have a value.
func (p *browser) eventually(expression, want string) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := p.text(expression)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is %q, want %q; the console says %q", expression, got, want, p.console())
		}
	}
}

func (p *browser) console() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.messages, "\n")
}

// silent asserts that the console has nothing but what contains one of known.
func (p *browser) silent(known ...string) {
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

// cell is the text of a cell of a node's row.
func cell(node, label string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#node-table tbody tr")].find((r) => r.querySelector("th b").textContent === %q)?.querySelector('[data-label=%q] span').textContent`, node, label)
}

// press clicks a button when it does not wait for the outcome of an earlier click any more.
func (p *browser) press(label string) {
	p.t.Helper()
	button := fmt.Sprintf(`button[aria-label=%q]`, label)
	p.eventually(fmt.Sprintf("document.querySelector(%q)?.getAttribute('aria-disabled')", button), "null")
	p.do(chromedp.Click(chromedp.CSS(button)))
}

const (
	dialogOpen   = `document.getElementById("token-dialog").open`
	tokenProblem = `document.getElementById("token-error").textContent`
	announced    = `document.getElementById("announcements").textContent`
)

func TestPageIsLive(t *testing.T) {
	b := serve(t, startNodes(t, 2), func(s *Spec) { s.Sticky.TCP = StickyNone })
	p := browse(t, "http://"+b.address("admin"))
	p.eventually(`document.querySelectorAll("#node-table tbody tr").length`, "2")
	p.eventually(`document.querySelectorAll("#charts .uplot canvas").length`, "6")
	p.eventually(`document.querySelectorAll("#worker-table tbody tr").length`, fmt.Sprint(len(b.stats().Workers)))
	p.eventually(`document.querySelectorAll("#listener-table tbody tr").length`, "3")
	p.eventually(`document.getElementById("live").textContent`, "live")
	p.eventually(cell("n0", "State"), "up")
	p.eventually(cell("n0", "Connections"), "0")
	for range 4 {
		b.dial().ask("hello")
	}
	p.eventually(cell("n0", "Connections"), "2")
	p.eventually(cell("n1", "Connections"), "2")
	p.eventually(`document.querySelector("#totals dd span").textContent`, "4")
	b.nodes[1].stop()
	p.eventually(cell("n1", "State"), "down")
	p.eventually(announced, "n1 is down.")
	p.eventually(`document.getElementById("live").dataset.state`, "degraded") // the dot in the header tells of the whole
	b.nodes[0].stop()
	p.eventually(`document.getElementById("live").dataset.state`, "down")
	foreign := p.text(`performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith(location.origin + "/"))`)
	if foreign != "" {
		t.Errorf("the page fetches %s", foreign)
	}
	p.silent()
}

// The clock of the balancer is set, five hours forward and then back: the charts go on, a second a point.
func TestPageChartsWhenTheClockIsSet(t *testing.T) {
	p := browse(t, "http://"+serve(t, startNodes(t, 1), nil).address("admin"))
	p.do(chromedp.Evaluate[chromedp.Void](`(async () => {
		const { charts } = await import("/assets/page/charts.js");
		const { nodes } = await (await fetch("/stats.json")).json();
		const c = charts(document.createElement("div"));
		const hours = 5 * 3600;
		[[1000, 0], [1001, 1], [1002, 2], [1003 + hours, 3], [1004 + hours, 4], [1005, 5], [1006, 6]].forEach(([at, uptime_s]) =>
			c.stats({ time: new Date(at * 1000).toISOString(), uptime_s, nodes }));
		window.times = c.times().join(" ");
	})(); undefined`))
	p.eventually(`window.times`, "1000 1001 1002 1003 1004 1005 1006")
	p.silent()
}

// Ticks of an axis that have no label, as most of a logarithmic one, have none that says 0.
func TestPageAxes(t *testing.T) {
	p := browse(t, "http://"+serve(t, startNodes(t, 1), nil).address("admin"))
	p.do(chromedp.Evaluate[chromedp.Void](`(async () => {
		const { labelled } = await import("/assets/page/charts.js");
		const { micros } = await import("/assets/page/format.js");
		window.ticks = labelled(micros)(null, [100, null, 1000, null, 0]).join("|");
	})(); undefined`))
	p.eventually(`window.ticks`, "100 µs||1.00 ms||0 µs")
	p.silent()
}

// A file of nodes that cannot be taken is told of, for as long as that is so.
func TestPageTellsOfTheFileOfNodes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nodes.yaml")
	b := serve(t, startNodes(t, 1), func(s *Spec) { s.NodesFrom = name })
	p := browse(t, "http://"+b.address("admin"))
	const told = `document.getElementById("nodes-from").textContent`
	p.eventually(told+`.startsWith("The file of nodes is not taken") && `+told+`.includes("no such file")`, "true")
	p.silent()
}

func TestPageCommands(t *testing.T) {
	b := serve(t, startNodes(t, 2), nil)
	if _, err := b.Ban(t.Context(), "192.0.2.1", time.Hour); err != nil {
		t.Fatal(err)
	}
	p := browse(t, "http://"+b.address("admin"))
	p.press("Drain n0")
	p.eventually(dialogOpen, "true")
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), "wrong\r"))
	p.eventually(tokenProblem, "This is not the token.")
	if n := b.stats().Node("n0"); n.State != NodeUp {
		t.Fatalf("without the token n0 is %s", n.State)
	}
	p.do(chromedp.KeyEvent("\x1b")) // Escape
	p.eventually(dialogOpen, "false")
	p.press("Drain n0")
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), b.adminToken()+"\r"))
	p.eventually(cell("n0", "State"), "draining")
	p.eventually(dialogOpen, "false")
	b.eventuallyState("n0", NodeDraining)
	p.press("Enable n0") // by the token kept
	p.eventually(cell("n0", "State"), "up")
	b.eventuallyState("n0", NodeUp)
	p.press("Lift the ban of 192.0.2.1")
	p.eventually(`document.querySelector("#ban-table tbody").textContent`, "Nobody is banned.")
	if got := p.text("location.href"); strings.Contains(got, b.adminToken()) || got != p.url+"/" {
		t.Errorf("the page is at %s", got)
	}
	if kept := p.text("localStorage.length + document.cookie"); kept != "0" {
		t.Errorf("the browser keeps %s", kept)
	}
	p.do(chromedp.Reload())
	p.eventually(`document.getElementById("lock").textContent`, "Lock actions")
	p.do(chromedp.Click(chromedp.CSS("#lock")))
	p.eventually("sessionStorage.length", "0")
	p.silent(fmt.Sprint(http.StatusUnauthorized))
}

// A foreign page cannot make the browser of an operator send commands or read statistics.
func TestForeignPage(t *testing.T) {
	b := serve(t, startNodes(t, 1), nil)
	p := browse(t, "http://"+b.address("admin"))
	foreign := "http://" + b.address("health") + "/health" // another origin, of this machine even
	p.do(chromedp.Navigate(foreign))
	result, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf(`(async () => {
	const told = [];
	const attempt = async (path, options) => {
		try { told.push((await fetch(%q + path, options)).type) } catch { told.push("refused") }
	};
	await attempt("/stats.json", {});
	await attempt("/stats.json", { mode: "no-cors" });
	await attempt("/api/nodes/n0/drain", { method: "POST", headers: { Authorization: "Bearer %s" } });
	await attempt("/api/nodes/n0/drain", { method: "POST", mode: "no-cors" });
	return told.join(" ");
})()`, p.url, b.adminToken()), chromedp.EvalAwaitPromise))
	if err != nil || result != "refused refused refused refused" {
		t.Errorf("got %s, %v", result, err)
	}
	if n := b.stats().Node("n0"); n.State != NodeUp {
		t.Errorf("the node is %s", n.State)
	}
}

// On every width the page fits, in both colour schemes, and has pictures to look at in -artifacts.
func TestPageFits(t *testing.T) {
	b := serve(t, startNodes(t, 4), func(s *Spec) { s.Sticky.TCP = StickyNone })
	p := browse(t, "http://"+b.address("admin"))
	for range 8 {
		b.dial().ask("hello")
	}
	p.eventually(cell("n3", "Connections"), "2")
	for _, scheme := range []string{"light", "dark"} {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{360, 768, 1024, 1280, 1920} {
			p.do(chromedp.EmulateViewport(width, 800))
			p.eventually("document.documentElement.scrollWidth <= innerWidth && innerWidth", fmt.Sprint(width))
			if faint := p.text(faintTexts); faint != "" {
				t.Errorf("%s at %d: too little contrast: %s", scheme, width, faint)
			}
			picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(t.ArtifactDir(), fmt.Sprintf("%s-%d.png", scheme, width)), picture, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.silent()
}

// faintTexts lists the texts that have less contrast with what is behind them than WCAG AA asks for.
const faintTexts = `(() => {
	const channels = (c) => c.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (e) => {
		for (; e; e = e.parentElement) {
			const c = channels(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] > 0) return c;
		}
		return [255, 255, 255];
	};
	const faint = new Set();
	for (const e of document.querySelectorAll("body *")) {
		const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim() !== "");
		if (!own || e.getClientRects().length === 0) continue;
		const [a, b] = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
		if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(e.textContent.trim());
	}
	return [...faint].join("; ");
})()`
