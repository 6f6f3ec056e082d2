package admin

import (
	"encoding/csv"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy"
)

// csvColumns are those of HAProxy 2.6, in its order. Columns behind "-" come from its modules; the
// balancer has none of them, but readers that count columns find them.
var csvColumns = strings.Split(
	"pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,"+
		"act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,"+
		"rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,"+
		"hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,"+
		"last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,check_desc,agent_desc,"+
		"check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,"+
		"conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,src_ilim,"+
		"qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,"+
		"uweight,agg_server_status,agg_server_check_status,agg_check_status,-,ssl_sess,ssl_reused_sess,"+
		"ssl_failed_handshake,h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,h2_rst_stream_rcvd,h2_goaway_rcvd,"+
		"h2_detected_conn_protocol_errors,h2_detected_strm_protocol_errors,h2_rst_stream_resp,h2_goaway_resp,"+
		"h2_open_connections,h2_backend_open_streams,h2_total_connections,h2_backend_total_streams,"+
		"h1_open_connections,h1_open_streams,h1_total_connections,h1_total_streams,h1_bytes_in,h1_bytes_out,"+
		"h1_spliced_bytes_in,h1_spliced_bytes_out,",
	",")

// csvRow is a line by the names of its columns. What HAProxy counts and the balancer does not is
// missing, and stays empty.
type csvRow map[string]string

// The values of the column "type".
const (
	csvFrontend = 0
	csvBackend  = 1
	csvServer   = 2
)

// serveCSV answers in the form of HAProxy's "show stat", for monitors that read it.
func serveCSV(b Balancer) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		out := csv.NewWriter(w)
		header := slices.Clone(csvColumns)
		header[0] = "# " + header[0]
		_ = out.Write(header) // errors stay, and the client has gone
		v, spec := b.View(), b.Spec()
		for _, row := range csvRows(&v, &spec) {
			line := make([]string, len(csvColumns)) // the last one is the end of the line
			for i, column := range csvColumns {
				line[i] = row[column]
			}
			_ = out.Write(line)
		}
		out.Flush()
	}
}

// csvRows are the frontends, the servers of the backend "nodes", and that backend.
func csvRows(v *View, spec *proxy.Spec) []csvRow {
	rows := []csvRow{frontendRow(&v.Stats, v.Peak)}
	rows = append(rows, webFrontendRows(&v.Stats, v.Peak)...)
	for i := range v.Nodes {
		rows = append(rows, serverRow(&v.Nodes[i], v.Time, i+1, &spec.Checks, v.Details[i].Peak))
	}
	return append(rows, backendRow(&v.Stats, spec, v.Peak))
}

func newFrontend(name, mode string, iid int, s *proxy.Stats) csvRow {
	row := csvRow{"pxname": name, "svname": "FRONTEND", "status": "OPEN", "mode": mode}
	if s.State == proxy.StateDraining {
		row["status"] = "STOP"
	}
	row.process(csvFrontend, iid, 0)
	return row
}

func frontendRow(s *proxy.Stats, p Peak) csvRow {
	row := newFrontend("tcp", "tcp", 2, s)
	row.load(s.Connections.Active, p.Connections, int64(s.Connections.Max), s.Connections.Total)
	row.rate("rate", "rate_max", s.Rates.Connections, p.Rate)
	row.rate("conn_rate", "conn_rate_max", s.Rates.Connections, p.Rate)
	row.traffic(sumNodes(s))
	row.count("conn_tot", s.Connections.Total)
	row.count("dcon", s.Refused.Ban+s.Refused.Rate+s.Refused.PerSource)
	row.count("dses", s.Refused.Full+s.Refused.NoNode+s.Refused.WorkerFull)
	return row
}

// webFrontendRows are the frontends "http" and "https", as far as they listen. Requests are counted
// without regard to how they came, so that they are in one row only: that of "http" if both listen.
func webFrontendRows(s *proxy.Stats, p Peak) (rows []csvRow) {
	for i, name := range []string{proxy.ListenHTTP, proxy.ListenHTTPS} {
		if !slices.ContainsFunc(s.Listeners, func(l proxy.ListenerStats) bool { return l.Name == name }) {
			continue
		}
		row := newFrontend(name, "http", 4+i, s)
		if len(rows) == 0 {
			row.requestsOf(s, p)
		}
		if name == proxy.ListenHTTPS {
			row.count("ssl_failed_handshake", s.Refused.Handshake)
		}
		rows = append(rows, row)
	}
	return rows
}

// requestsOf counts requests. Connections are counted in the row of TCP, those over HTTP too.
func (r csvRow) requestsOf(s *proxy.Stats, p Peak) {
	r.rate("req_rate", "req_rate_max", s.Rates.Requests, p.Requests)
	r.requests(s.HTTP.Requests, s.HTTP.Responses)
	r.count("ereq", s.Refused.BadRequest+s.Refused.TooLarge+s.Refused.Slow)
	r.count("dreq", s.Refused.MessageRate)
}

func serverRow(n *proxy.NodeStats, now time.Time, sid int, checks *proxy.Checks, p Peak) csvRow {
	row := csvRow{"pxname": "nodes", "svname": n.Name, "mode": "tcp", "addr": n.Address, "bck": "0"}
	row["status"] = map[string]string{proxy.NodeUp: "UP", proxy.NodeDegraded: "UP", proxy.NodeSilent: "NOLB", proxy.NodeDown: "DOWN", proxy.NodeDraining: "DRAIN", proxy.NodeMaintenance: "MAINT"}[n.State]
	row.process(csvServer, 3, sid)
	row.load(n.Connections, p.Connections, n.MaxConnections, n.Total)
	row.rate("rate", "rate_max", n.Rates.Connections, p.Rate)
	row.traffic(*n)
	row.upstream(*n)
	row.times(n.Connect, n.Latency)
	row.requests(n.Requests, n.Responses)
	row.count("weight", uint64(math.Ceil(n.Weight)))
	row.count("uweight", uint64(n.FullWeight))
	row.count("act", uint64(one(n.State == proxy.NodeUp || n.State == proxy.NodeDegraded)))
	row.count("lastchg", uint64(max(0, now.Sub(n.Since)).Seconds()))
	if n.State == proxy.NodeUp && n.Weight < n.FullWeight {
		row.count("throttle", uint64(100*n.Weight/n.FullWeight))
	}
	row.count("used_conn_cur", uint64(n.Connections))
	row.count("check_rise", uint64(checks.Rise))
	row.count("check_fall", uint64(checks.Fall))
	if !n.Check.At.IsZero() {
		row["check_status"], row["check_desc"] = checkCode(&n.Check)
		row["last_chk"] = n.Check.Error
		row.count("check_duration", uint64(n.Check.LatencyUs/1000))
	}
	return row
}

func backendRow(s *proxy.Stats, spec *proxy.Spec, p Peak) csvRow {
	total := sumNodes(s)
	row := csvRow{"pxname": "nodes", "svname": "BACKEND", "mode": "tcp", "algo": string(spec.Balance), "bck": "0", "status": "DOWN"}
	var up, weight uint64
	for i := range s.Nodes {
		if state := s.Nodes[i].State; state == proxy.NodeUp || state == proxy.NodeDegraded {
			up++
			weight += uint64(math.Ceil(s.Nodes[i].Weight))
		}
	}
	if up > 0 {
		row["status"] = "UP"
	}
	row.process(csvBackend, 3, 0)
	row.load(total.Connections, p.Connections, int64(s.Connections.Max), total.Total)
	row.rate("rate", "rate_max", s.Rates.Connections-s.Rates.Refused, p.Rate)
	row.traffic(total)
	row.upstream(total)
	row.times(total.Connect, total.Latency)
	row.requests(total.Requests, total.Responses)
	row.count("weight", weight)
	row.count("act", up)
	return row
}

// sumNodes adds up what the nodes count. Of times there are the means only.
func sumNodes(s *proxy.Stats) (sum proxy.NodeStats) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		sum.Connections += n.Connections
		sum.Total += n.Total
		sum.BytesIn += n.BytesIn
		sum.BytesOut += n.BytesOut
		sum.ConnectErrors += n.ConnectErrors
		sum.Resets += n.Resets
		sum.Retries += n.Retries
		sum.Requests += n.Requests
		addResponses(&sum.Responses, n.Responses)
		sum.Connect, sum.Latency = sum.Connect.Plus(n.Connect), sum.Latency.Plus(n.Latency)
	}
	return sum
}

func (r csvRow) count(column string, n uint64) { r[column] = strconv.FormatUint(n, 10) }

func (r csvRow) process(kind, iid, sid int) {
	r["pid"], r["type"], r["iid"], r["sid"] = "1", strconv.Itoa(kind), strconv.Itoa(iid), strconv.Itoa(sid)
	r["-"] = "-" // before the columns of modules
}

func (r csvRow) load(now, peak, limit int64, total uint64) {
	r.count("scur", uint64(max(0, now)))
	r.count("smax", uint64(max(peak, now, 0)))
	if limit > 0 {
		r.count("slim", uint64(limit))
	}
	r.count("stot", total)
}

func (r csvRow) rate(column, highest string, now, peak float64) {
	now = max(0, now)
	r.count(column, uint64(math.Round(now)))
	r.count(highest, uint64(math.Round(max(now, peak))))
}

func (r csvRow) traffic(n proxy.NodeStats) {
	r.count("bin", n.BytesIn)
	r.count("bout", n.BytesOut)
}

// upstream is what happens between balancer and node. A client whose node does not answer goes to
// another one: wredis; the same node is never tried twice: wretr.
func (r csvRow) upstream(n proxy.NodeStats) {
	r.count("econ", n.ConnectErrors)
	r.count("eresp", n.Resets)
	r.count("srv_abrt", n.Resets)
	r.count("wretr", 0)
	r.count("wredis", n.Retries)
	r.count("connect", n.Total+n.ConnectErrors)
	r.count("lbtot", n.Total)
}

// times are means in ms, estimated from histograms whose buckets double in width, over the last minute;
// HAProxy's are over the last 1024 connections or requests. ctime is of new connections to nodes only,
// for both TCP and HTTP, and rtime of HTTP requests, up to the head of the response. What is not
// measured stays empty: qtime, as there is no queue; ttime, the whole time of sessions; and the maxima.
func (r csvRow) times(connect, answer proxy.Latency) {
	if connect.Count > 0 {
		r.count("ctime", uint64(math.Round(connect.Mean/1000)))
	}
	if answer.Count > 0 {
		r.count("rtime", uint64(math.Round(answer.Mean/1000)))
	}
}

// requests is what there is of HTTP; where there is none the columns stay empty, as in mode tcp.
func (r csvRow) requests(total uint64, responses proxy.Responses) {
	if total == 0 && r["mode"] != "http" {
		return
	}
	r.count("req_tot", total)
	for i, n := range responses.Each() {
		r.count("hrsp_"+statusClasses[i], n)
	}
	r.count("hrsp_other", 0)
}

func addResponses(r *proxy.Responses, o proxy.Responses) {
	r.Informational += o.Informational
	r.Successful += o.Successful
	r.Redirection += o.Redirection
	r.ClientError += o.ClientError
	r.ServerError += o.ServerError
}

// checkCode names the result of a check as HAProxy does.
func checkCode(c *proxy.CheckStats) (code, text string) {
	layer, name := "L7", "Layer7"
	if c.Kind == "tcp" {
		layer, name = "L4", "Layer4"
	}
	if c.OK {
		return layer + "OK", name + " check passed"
	}
	switch c.Cause {
	case healthcheck.CauseRefused, healthcheck.CauseReset:
		return "L4CON", "Layer4 connection problem"
	case healthcheck.CauseUnreachable:
		return "L4TOUT", "Layer4 timeout"
	case healthcheck.CauseTimeout:
		return "L7TOUT", "Layer7 timeout"
	case healthcheck.CauseClosed, healthcheck.CauseProtocol, healthcheck.CauseUnhealthy:
		return "L7RSP", "Layer7 invalid response"
	}
	return "SOCKERR", "Socket error"
}
