package coding

import (
	"mime"
	"testing"
)

// Whatever charset the standard library finds in a media type is seen.
func FuzzHidesASCII(f *testing.F) {
	for _, t := range []string{"application/json", "application/json; charset=utf-8", `a/b;x="; charset=utf-8";charset="utf-7"`, "a/b; charset*=utf-7''x", "a/b; CHARSET = Latin1", "a/b; charset", "a/b; charset*0=utf-; charset*1=7"} {
		f.Add(t)
	}
	f.Fuzz(func(t *testing.T, mediaType string) {
		_, params, err := mime.ParseMediaType(mediaType)
		charset := params["charset"]
		if err == nil && charset != "" && !isASCIISuperset([]byte(charset)) && !hidesASCII([]byte(mediaType)) {
			t.Fatalf("%q names %q", mediaType, charset)
		}
	})
}
