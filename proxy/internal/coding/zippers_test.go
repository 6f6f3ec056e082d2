package coding

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"testing"
)

// Bodies that are compressed in turns, in whichever pieces, are the same again, and nothing of them is left.
func TestZippers(t *testing.T) {
	var zs Zippers
	const bodies, pieces = maxZippers, 5
	var taken [bodies]*Zipper
	var sent, got [bodies]bytes.Buffer
	for i := range taken {
		taken[i] = zs.Take()
	}
	if zs.Take() != nil || zs.InUse() != maxZippers {
		t.Errorf("%d of %d are in use", zs.InUse(), maxZippers)
	}
	for k := range pieces {
		for i, z := range taken {
			piece := bytes.Repeat([]byte{byte(i), byte(k)}, i*k)
			sent[i].Write(piece)
			z.Write(piece)
			got[i].Write(zs.Flush(z, k == pieces-1))
		}
	}
	for i, z := range taken {
		zs.Put(z)
		r, err := gzip.NewReader(&got[i])
		if err != nil {
			t.Fatal(err)
		}
		if p, err := io.ReadAll(r); err != nil || !bytes.Equal(p, sent[i].Bytes()) {
			t.Errorf("of %d bytes there are %d, %v", sent[i].Len(), len(p), err)
		}
	}
	if zs.InUse() != 0 || zs.Spares() != MaxSpare || len(zs.out.data) != 0 {
		t.Errorf("%d are in use, %d are kept, and %d bytes", zs.InUse(), zs.Spares(), len(zs.out.data))
	}
	if zs.Trim(); zs.Spares() != 0 || zs.Take() == nil {
		t.Error("none are to be had without those that were kept")
	}
}

// A compressor that is kept compresses the pieces of a body without allocating.
func TestCompressingAllocatesNothing(t *testing.T) {
	var zs Zippers
	piece := bytes.Repeat([]byte("hello, "), 1000)
	body := func() {
		z := zs.Take()
		for range 3 {
			z.Write(piece)
			zs.Flush(z, false)
		}
		zs.Flush(z, true)
		zs.Put(z)
	}
	body()
	if n := testing.AllocsPerRun(100, body); n != 0 {
		t.Errorf("%v allocations a body", n)
	}
}

// What a compressor has given of a body that broke off does not get into the next one.
func TestBrokenBodyLeavesNothing(t *testing.T) {
	var zs Zippers
	random := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	z := zs.Take()
	z.Write(random)
	if len(zs.out.data) == 0 {
		t.Fatal("the compressor has given nothing yet")
	}
	zs.Put(z)
	z = zs.Take()
	z.Write([]byte("next"))
	r, err := gzip.NewReader(bytes.NewReader(zs.Flush(z, true)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "next" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
