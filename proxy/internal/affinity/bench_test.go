package affinity

import (
	"fmt"
	"testing"
)

func BenchmarkSession(b *testing.B) {
	for _, nodes := range []int{4, 64} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			r := newRing(b, 1, manyNames(nodes)...)
			tagged := r.AppendSession(nil, []byte("8ac1f0c2-5a1e-4b7c-9d3e-2f6f0c1a7b55"), nodes-1, began)
			b.ReportAllocs()
			for b.Loop() {
				if _, node, _, _ := r.Session(tagged); node != nodes-1 {
					b.Fatal(node)
				}
			}
		})
	}
}

func BenchmarkCookie(b *testing.B) {
	r := newRing(b, 1, manyNames(4)...)
	value := r.AppendCookie(nil, 3)
	b.ReportAllocs()
	for b.Loop() {
		if node, _ := r.Cookie(value); node != 3 {
			b.Fatal(node)
		}
	}
}
