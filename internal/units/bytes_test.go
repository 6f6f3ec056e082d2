package units

import (
	"encoding/json"
	"math"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0":       0,
		"7":       7,
		"7B":      7,
		"16k":     16384,
		"16K":     16384,
		"16KiB":   16384,
		"16kB":    16000,
		"64MiB":   64 << 20,
		"64 mib":  64 << 20,
		" 1GB ":   1e9,
		"1g":      1 << 30,
		"2TiB":    2 << 40,
		"3TB":     3e12,
		"1000000": 1e6,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseBytesRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                    `"" is not a size (like 64MiB, 16k or 1GB)`,
		"MiB":                 `"MiB" is not a size (like 64MiB, 16k or 1GB)`,
		"-1k":                 `"-1k" is not a size (like 64MiB, 16k or 1GB)`,
		"1.5GiB":              `"1.5GiB" is not a size: unknown unit ".5GiB" (k, KiB, kB, m, MiB, MB, g, GiB, GB, t, TiB, TB)`,
		"64Mb/s":              `"64Mb/s" is not a size: unknown unit "Mb/s" (k, KiB, kB, m, MiB, MB, g, GiB, GB, t, TiB, TB)`,
		"9223372036854775808": `"9223372036854775808" is more than this program can count`,
		"9007199254740992k":   `"9007199254740992k" is more than this program can count`,
	} {
		if got, err := ParseBytes(text); err == nil || err.Error() != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want error %q", text, got, err, want)
		}
	}
}

func TestBytesString(t *testing.T) {
	for b, want := range map[Bytes]string{
		0:             "0",
		512:           "512",
		1000:          "1kB",
		1023:          "1023",
		1024:          "1KiB",
		1536:          "1536",
		16 << 10:      "16KiB",
		64 << 20:      "64MiB",
		1e9:           "1GB",
		5 << 40:       "5TiB",
		math.MaxInt64: "9223372036854775807",
	} {
		if got := b.String(); got != want {
			t.Errorf("Bytes(%d).String() = %q, want %q", int64(b), got, want)
		}
	}
}

// Whatever is printed is read back as the same number, in every encoding.
func TestBytesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]int64{1, 1e3, 1e6, 1e9, 1 << 10, 1 << 20, 1 << 30}).Draw(t, "unit")
		want := Bytes(rapid.Int64Range(0, math.MaxInt64/unit).Draw(t, "n") * unit)

		var fromText, fromJSON, fromYAML Bytes
		if err := fromText.Set(want.String()); err != nil {
			t.Fatal(err)
		}
		encoded, _ := json.Marshal(want)
		if err := json.Unmarshal(encoded, &fromJSON); err != nil {
			t.Fatal(err)
		}
		encoded, _ = yaml.Marshal(want)
		if err := yaml.Unmarshal(encoded, &fromYAML); err != nil {
			t.Fatal(err)
		}
		if fromText != want || fromJSON != want || fromYAML != want {
			t.Fatalf("%d: text %d, json %d, yaml %d", want, fromText, fromJSON, fromYAML)
		}
	})
}

func TestBytesReadsBareNumbers(t *testing.T) {
	var fromJSON, fromYAML Bytes
	if err := json.Unmarshal([]byte("4096"), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte("4096"), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if fromJSON != 4096 || fromYAML != 4096 {
		t.Errorf("json %d, yaml %d; want 4096", fromJSON, fromYAML)
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, seed := range []string{"0", "64MiB", "16k", "1 GB", "999999999999999999999t", "k", "1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBytes(text)
		if err != nil {
			return
		}
		if b < 0 {
			t.Fatalf("ParseBytes(%q) = %d", text, b)
		}
		if again, err := ParseBytes(b.String()); err != nil || again != b {
			t.Fatalf("ParseBytes(%q) = %d prints %q, read back as %d, %v", text, b, b, again, err)
		}
	})
}
