package master

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// cell is the text of a cell of a node's row.
func cell(node, label string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#node-table tbody tr")].find((r) => r.querySelector("th b").textContent === %q)?.querySelector('[data-label=%q] span').textContent`, node, label)
}

const (
	dialogOpen   = `document.getElementById("token-dialog").open`
	tokenProblem = `document.getElementById("token-error").textContent`
	announced    = `document.getElementById("announcements").textContent`
)

func TestPageIsLive(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone })
	p := proxytest.Browse(t, "http://"+b.address("admin"))
	p.Eventually(`document.querySelectorAll("#node-table tbody tr").length`, "2")
	p.Eventually(`document.querySelectorAll("#charts .uplot canvas").length`, "6")
	p.Eventually(`document.querySelectorAll("#worker-table tbody tr").length`, fmt.Sprint(len(b.stats().Workers)))
	p.Eventually(`document.querySelectorAll("#listener-table tbody tr").length`, "3")
	p.Eventually(`document.getElementById("live").textContent`, "live")
	p.Eventually(cell("n0", "State"), "up")
	p.Eventually(cell("n0", "Connections"), "0")
	for range 4 {
		b.dial().Ask("hello")
	}
	p.Eventually(cell("n0", "Connections"), "2")
	p.Eventually(cell("n1", "Connections"), "2")
	p.Eventually(`document.querySelector("#totals dd span").textContent`, "4")
	b.nodes[1].Stop()
	p.Eventually(cell("n1", "State"), "down")
	p.Eventually(announced, "n1 is down.")
	p.Eventually(`document.getElementById("live").dataset.state`, "degraded") // the dot in the header tells of the whole
	b.nodes[0].Stop()
	p.Eventually(`document.getElementById("live").dataset.state`, "down")
	foreign := p.Text(`performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith(location.origin + "/"))`)
	if foreign != "" {
		t.Errorf("the page fetches %s", foreign)
	}
	p.Silent()
}

// The clock of the balancer is set, five hours forward and then back: the charts go on, a second a point.
func TestPageChartsWhenTheClockIsSet(t *testing.T) {
	p := proxytest.Browse(t, "http://"+serve(t, proxytest.StartNodes(t, 1), nil).address("admin"))
	p.Do(chromedp.Evaluate[chromedp.Void](`(async () => {
		const { charts } = await import("/assets/page/charts.js");
		const { nodes } = await (await fetch("/stats.json")).json();
		const c = charts(document.createElement("div"));
		const hours = 5 * 3600;
		[[1000, 0], [1001, 1], [1002, 2], [1003 + hours, 3], [1004 + hours, 4], [1005, 5], [1006, 6]].forEach(([at, uptime_s]) =>
			c.stats({ time: new Date(at * 1000).toISOString(), uptime_s, nodes }));
		window.times = c.times().join(" ");
	})(); undefined`))
	p.Eventually(`window.times`, "1000 1001 1002 1003 1004 1005 1006")
	p.Silent()
}

// Ticks of an axis that have no label, as most of a logarithmic one, have none that says 0.
func TestPageAxes(t *testing.T) {
	p := proxytest.Browse(t, "http://"+serve(t, proxytest.StartNodes(t, 1), nil).address("admin"))
	p.Do(chromedp.Evaluate[chromedp.Void](`(async () => {
		const { labelled } = await import("/assets/page/charts.js");
		const { micros } = await import("/assets/page/format.js");
		window.ticks = labelled(micros)(null, [100, null, 1000, null, 0]).join("|");
	})(); undefined`))
	p.Eventually(`window.ticks`, "100 µs||1.00 ms||0 µs")
	p.Silent()
}

// A file of nodes that cannot be taken is told of, for as long as that is so.
func TestPageTellsOfTheFileOfNodes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nodes.yaml")
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.NodesFrom = name })
	p := proxytest.Browse(t, "http://"+b.address("admin"))
	const told = `document.getElementById("nodes-from").textContent`
	p.Eventually(told+`.startsWith("The file of nodes is not taken") && `+told+`.includes("no such file")`, "true")
	p.Silent()
}

func TestPageCommands(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), nil)
	if _, err := b.Ban(t.Context(), "192.0.2.1", time.Hour); err != nil {
		t.Fatal(err)
	}
	p := proxytest.Browse(t, "http://"+b.address("admin"))
	p.Press("Drain n0")
	p.Eventually(dialogOpen, "true")
	p.Do(chromedp.SendKeys(chromedp.CSS("#token"), "wrong\r"))
	p.Eventually(tokenProblem, "This is not the token.")
	if n := b.stats().Node("n0"); n.State != proxy.NodeUp {
		t.Fatalf("without the token n0 is %s", n.State)
	}
	p.Do(chromedp.KeyEvent("\x1b")) // Escape
	p.Eventually(dialogOpen, "false")
	p.Press("Drain n0")
	p.Do(chromedp.SendKeys(chromedp.CSS("#token"), b.adminToken()+"\r"))
	p.Eventually(cell("n0", "State"), "draining")
	p.Eventually(dialogOpen, "false")
	b.eventuallyState("n0", proxy.NodeDraining)
	p.Press("Enable n0") // by the token kept
	p.Eventually(cell("n0", "State"), "up")
	b.eventuallyState("n0", proxy.NodeUp)
	p.Press("Lift the ban of 192.0.2.1")
	p.Eventually(`document.querySelector("#ban-table tbody").textContent`, "Nobody is banned.")
	if got := p.Text("location.href"); strings.Contains(got, b.adminToken()) || got != p.URL+"/" {
		t.Errorf("the page is at %s", got)
	}
	if kept := p.Text("localStorage.length + document.cookie"); kept != "0" {
		t.Errorf("the browser keeps %s", kept)
	}
	p.Do(chromedp.Reload())
	p.Eventually(`document.getElementById("lock").textContent`, "Lock actions")
	p.Do(chromedp.Click(chromedp.CSS("#lock")))
	p.Eventually("sessionStorage.length", "0")
	p.Silent(fmt.Sprint(http.StatusUnauthorized))
}

// A foreign page cannot make the browser of an operator send commands or read statistics.
func TestForeignPage(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	p := proxytest.Browse(t, "http://"+b.address("admin"))
	foreign := "http://" + b.address("health") + "/health" // another origin, of this machine even
	p.Do(chromedp.Navigate(foreign))
	result, err := chromedp.Run(p.Context, chromedp.Evaluate[string](fmt.Sprintf(`(async () => {
	const told = [];
	const attempt = async (path, options) => {
		try { told.push((await fetch(%q + path, options)).type) } catch { told.push("refused") }
	};
	await attempt("/stats.json", {});
	await attempt("/stats.json", { mode: "no-cors" });
	await attempt("/api/nodes/n0/drain", { method: "POST", headers: { Authorization: "Bearer %s" } });
	await attempt("/api/nodes/n0/drain", { method: "POST", mode: "no-cors" });
	return told.join(" ");
})()`, p.URL, b.adminToken()), chromedp.EvalAwaitPromise))
	if err != nil || result != "refused refused refused refused" {
		t.Errorf("got %s, %v", result, err)
	}
	if n := b.stats().Node("n0"); n.State != proxy.NodeUp {
		t.Errorf("the node is %s", n.State)
	}
}

// On every width the page fits, in both colour schemes, and has pictures to look at in -artifacts.
func TestPageFits(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 4), func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone })
	p := proxytest.Browse(t, "http://"+b.address("admin"))
	for range 8 {
		b.dial().Ask("hello")
	}
	p.Eventually(cell("n3", "Connections"), "2")
	for _, scheme := range []string{"light", "dark"} {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(p.Context, emulation.SetEmulatedMedia, media); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{360, 768, 1024, 1280, 1920} {
			p.Do(chromedp.EmulateViewport(width, 800))
			p.Eventually("document.documentElement.scrollWidth <= innerWidth && innerWidth", fmt.Sprint(width))
			if faint := p.Text(faintTexts); faint != "" {
				t.Errorf("%s at %d: too little contrast: %s", scheme, width, faint)
			}
			picture, err := chromedp.Run(p.Context, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(t.ArtifactDir(), fmt.Sprintf("%s-%d.png", scheme, width)), picture, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.Silent()
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
