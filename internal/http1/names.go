package http1

// name is the number of a well-known field, 0 of any other.
type name uint8

// Fields that this package looks at.
const (
	other name = iota
	connection
	contentLength
	expect
	host
	trailer
	transferEncoding
	upgrade
)

// What is to be known of a field name.
const (
	hop      = 1 << iota // is never forwarded (RFC 9110 section 7.6.1)
	single               // may come once only: who reads the first would see another message than who reads the last
	endToEnd             // may not be named by Connection: to drop it would change the message
	exact                // may not be imitated with underscores, which some servers take for hyphens
	claim                // says where a request came from: means something only from who is trusted
	stamp                // a claim that the gateway makes itself
)

// names are the well-known field names, those above first and in their order.
var names = [...]struct {
	name  string
	rules uint8
}{
	{},
	{"connection", hop | exact},
	{"content-length", single | endToEnd | exact},
	{"expect", single | endToEnd},
	{"host", single | endToEnd},
	{"trailer", hop},
	{"transfer-encoding", hop | single | exact},
	{"upgrade", hop},

	{"accept", endToEnd},
	{"accept-encoding", endToEnd},
	{"authorization", endToEnd},
	{"cache-control", endToEnd},
	{"cf-connecting-ip", endToEnd | exact | claim},
	{"cf-pseudo-ipv4", endToEnd | exact | claim},
	{"content-encoding", endToEnd},
	{"content-type", endToEnd},
	{"cookie", endToEnd},
	{"date", endToEnd},
	{"fastly-client-ip", endToEnd | exact | claim},
	{"forwarded", endToEnd | claim | stamp},
	{"forwarded-for", endToEnd | exact | claim},
	{"http2-settings", hop},
	{"keep-alive", hop},
	{"last-event-id", single | endToEnd | exact},
	{"location", endToEnd},
	{"mcp-method", single | endToEnd | exact},
	{"mcp-name", single | endToEnd | exact},
	{"mcp-protocol-version", single | endToEnd | exact},
	{"mcp-session-id", single | endToEnd | exact},
	{"origin", single | endToEnd},
	{"proxy-authenticate", hop},
	{"proxy-authorization", hop},
	{"proxy-connection", hop | exact},
	{"sec-websocket-accept", single | endToEnd},
	{"sec-websocket-extensions", endToEnd},
	{"sec-websocket-key", single | endToEnd},
	{"sec-websocket-protocol", endToEnd},
	{"sec-websocket-version", endToEnd},
	{"server", endToEnd},
	{"set-cookie", endToEnd},
	{"te", hop},
	{"true-client-ip", endToEnd | exact | claim},
	{"user-agent", endToEnd},
	{"vary", endToEnd},
	{"via", endToEnd},
	{"x-appengine-user-ip", endToEnd | exact | claim},
	{"x-client-ip", endToEnd | exact | claim},
	{"x-cluster-client-ip", endToEnd | exact | claim},
	{"x-forwarded", endToEnd | exact | claim},
	{"x-forwarded-for", endToEnd | exact | claim | stamp},
	{"x-forwarded-host", endToEnd | exact | claim | stamp},
	{"x-forwarded-port", endToEnd | exact | claim},
	{"x-forwarded-proto", endToEnd | exact | claim | stamp},
	{"x-forwarded-scheme", endToEnd | exact | claim},
	{"x-forwarded-ssl", endToEnd | exact | claim},
	{"x-real-ip", endToEnd | exact | claim | stamp},
	{"x-served-by", endToEnd},
}

func (n name) is(rule uint8) bool { return names[n].rules&rule != 0 }

// index is an open hash table of names, by hash.
var index = func() (t [256]name) {
	for n := 1; n < len(names); n++ {
		at := hash(names[n].name)
		for t[at] != other {
			at++
		}
		t[at] = name(n)
	}
	return t
}()

// hash tells the well-known names apart by length and three letters. It is not
// keyed: every search in index ends after a few steps, whatever is asked for.
func hash[T string | []byte](s T) uint8 {
	return uint8(len(s))*7 + lower[s[0]] + lower[s[len(s)/2]]*3 + lower[s[len(s)-1]]*21
}

// known is the number of a field name, which is not empty.
func known[T string | []byte](s T) name {
	for at := hash(s); index[at] != other; at++ {
		if n := index[at]; EqualFold(s, names[n].name) {
			return n
		}
	}
	return other
}

// imitates reports whether s, which has underscores, is an exact name to a server
// that takes them for hyphens, as those do that pass fields in environment
// variables.
func imitates(s []byte) bool {
	var hyphens [32]byte
	if len(s) > len(hyphens) {
		return false
	}
	for i, c := range s {
		if c == '_' {
			c = '-'
		}
		hyphens[i] = c
	}
	return known(hyphens[:len(s)]).is(exact)
}
