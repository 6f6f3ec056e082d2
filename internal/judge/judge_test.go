package judge

import "testing"

func TestNumbersDecide(t *testing.T) {
	for _, c := range []struct {
		numbers Numbers
		want    Verdict
	}{
		{UpTo(5, 5, "ms"), OK},
		{UpTo(6, 5, "ms"), Fail},
		{All(5, 5, "clients"), OK},
		{All(4, 5, "clients"), Fail},
		{Numbers{WantMax: new(5.0)}, Fail}, // it never came
	} {
		var l List
		if r := l.Measure("a", c.numbers, "5", "-"); r.Verdict != c.want || l[0].Verdict != c.want {
			t.Errorf("%+v", r)
		}
	}
}

// What is OK suggests nothing, and is nobody's fault.
func TestResults(t *testing.T) {
	var l List
	fine := l.Judge("a", true, Warn, "1", "1", "do this")
	fine.Suggest("this")
	fine.Misuse()
	if fine.Fix != "" || fine.Command != "" || fine.Usage || fine.Verdict != OK || fine.Worst != Warn {
		t.Errorf("%+v", fine)
	}
	bad := l.Need("b", false, "0", "1", "do this")
	bad.Suggest("this")
	bad.Misuse()
	if bad.Fix != "do this" || bad.Command != "this" || !bad.Usage || bad.Verdict != Fail {
		t.Errorf("%+v", bad)
	}
	l.Need("c", false, "0", "1", "").Excuse("nobody was there")
	l.Need("d", true, "0", "1", "").FailIf(true)
	if failed := l.Failed(); len(failed) != 2 || failed[0].Name != "b" || failed[1].Name != "d" {
		t.Errorf("%+v", failed)
	}
}
