package proxy

import "testing"

func TestSourceOf(t *testing.T) {
	for client, want := range map[string]string{
		"10.1.2.3":         "10.1.2.3",
		"10.1.2.3/32":      "10.1.2.3",
		"::ffff:10.1.2.3":  "10.1.2.3",
		"2001:db8::1":      "2001:db8::/64",
		"2001:db8::/64":    "2001:db8::/64",
		"2001:db8::5/128":  "2001:db8::/64",
		"2001:db8:0:1::/8": "",
		"10.0.0.0/31":      "",
		"host":             "",
	} {
		got, err := sourceOf(client)
		if (err != nil) != (want == "") || err == nil && SourceText(got) != want {
			t.Errorf("%s: got %v, %v; want %q", client, got, err, want)
		}
	}
}
