package healthcheck

import (
	"fmt"
	"strings"
)

// nagiosWords are the states of monitoring plugins, by exit code.
var nagiosWords = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// Nagios is the report as the one line of a monitoring plugin, with performance data
// (https://www.monitoring-plugins.org/doc/guidelines.html). What is not known is left out of these.
func (r *Report) Nagios() string {
	up := r.nodesUp()
	text := strings.Join(r.Reasons, "; ")
	if text == "" {
		text = fmt.Sprintf("%d of %d nodes up", up, len(r.Nodes))
	}
	data := []string{fmt.Sprintf("nodes_up=%d;;;0;%d", up, len(r.Nodes))}
	if c := &r.Connections; c.Total != nil {
		data = append(data, fmt.Sprintf("connections=%d;;;0;%d", *c.Total, c.Capacity))
	}
	if d := r.Connections.MaxDeviation; d != nil {
		data = append(data, fmt.Sprintf("max_deviation=%d;;;0", *d))
	}
	for _, n := range r.Nodes {
		if n.Connections != nil {
			data = append(data, fmt.Sprintf("%s=%d;;;0", nagiosLabel(n.Name, "connections"), *n.Connections))
		}
		for _, c := range n.Checks {
			if c.OK {
				data = append(data, fmt.Sprintf("%s=%.6fs;;;0", nagiosLabel(n.Name, c.Name()), c.Latency.Seconds()))
			}
		}
	}
	return fmt.Sprintf("ERLMCP %s - %s | %s\n", nagiosWords[r.Status.ExitCode()], nagiosText(text), strings.Join(data, " "))
}

// NagiosUnknown is the line of a monitoring plugin that could not find out what it was asked, for a reason.
func NagiosUnknown(reason string) string {
	return fmt.Sprintf("ERLMCP %s - %s\n", nagiosWords[StatusUnknown.ExitCode()], nagiosText(reason))
}

// nagiosText is text as it may stand before performance data: one line, and no mark that begins these.
func nagiosText(text string) string {
	return strings.NewReplacer("|", "/", "\n", " ", "\r", " ").Replace(text)
}

func nagiosLabel(node, what string) string {
	return "'" + strings.NewReplacer("'", "_", "=", "_", "|", "_", "\n", "_").Replace(node) + "_" + what + "'"
}

func (r *Report) nodesUp() int {
	up := 0
	for _, n := range r.Nodes {
		if n.Status == NodeUp {
			up++
		}
	}
	return up
}

// Prometheus is the report in Prometheus' text exposition format, for example for the textfile
// collector of its node exporter. What is not known has no sample.
func (r *Report) Prometheus() string {
	var e exposition
	e.family("status", "0 healthy, 1 degraded, 2 down, 3 unknown.")
	e.sample("", float64(r.Status.ExitCode()))
	e.family("timestamp_seconds", "When the checks were made.")
	e.sample("", float64(r.Time.UnixMilli())/1000)
	e.family("load_balancer_up", "Whether a load balancer runs.")
	e.sample("", oneIf(r.LoadBalancer.Running))
	e.optional("clients", "Connections of clients to the load balancer.", r.LoadBalancer.Clients)
	e.optional("connections", "Established connections of all nodes.", r.Connections.Total)
	e.family("connections_capacity", "Clients the load balancer admits.")
	e.sample("", float64(r.Connections.Capacity))
	e.optional("connections_max_deviation", "Largest distance of a node from its share.", r.Connections.MaxDeviation)
	e.family("node_up", "Whether every check of the node succeeded.")
	for _, n := range r.Nodes {
		e.sample(label("node", n.Name), oneIf(n.Status == NodeUp))
	}
	e.family("node_connections", "Established connections of the node.")
	for _, n := range r.Nodes {
		if n.Connections != nil {
			e.sample(label("node", n.Name), float64(*n.Connections))
		}
	}
	e.family("check_success", "Whether the check succeeded.")
	r.eachCheck(func(labels string, c *Result) { e.sample(labels, oneIf(c.OK)) })
	e.family("check_latency_seconds", "Latency of the check, where it succeeded.")
	r.eachCheck(func(labels string, c *Result) {
		if c.OK {
			e.sample(labels, c.Latency.Seconds())
		}
	})
	if r.Cluster != nil {
		e.begin("node_restarts_total", "How often the supervisor has started the node again.", "counter")
		for _, n := range r.Cluster.Nodes {
			e.sample(label("node", n.Name), float64(n.Restarts))
		}
	}
	return e.text.String()
}

func (r *Report) eachCheck(do func(labels string, c *Result)) {
	for _, n := range r.Nodes {
		for i := range n.Checks {
			do(label("node", n.Name)+","+label("kind", n.Checks[i].Name()), &n.Checks[i])
		}
	}
}

// exposition is metrics as text; a family is followed by its samples.
type exposition struct {
	text strings.Builder
	name string
}

func (e *exposition) family(name, help string) { e.begin(name, help, "gauge") }

func (e *exposition) begin(name, help, kind string) {
	e.name = "erlmcp_health_" + name
	fmt.Fprintf(&e.text, "# HELP %s %s\n# TYPE %s %s\n", e.name, help, e.name, kind)
}

func (e *exposition) sample(labels string, value float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(&e.text, "%s%s %.15g\n", e.name, labels, value)
}

func (e *exposition) optional(name, help string, value *int) {
	if value != nil {
		e.family(name, help)
		e.sample("", float64(*value))
	}
}

func label(name, value string) string {
	return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
