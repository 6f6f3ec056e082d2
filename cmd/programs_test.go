package cmd

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Programs that tests have run beside nodes, see TestMain.

// flood is a program: it prints numbered lines, so many MiB a second, and after each MiB writes their number
// to a file.
func flood() {
	rate, _ := strconv.Atoi(os.Args[1])
	const lineSize = 128 // bytes
	template := fmt.Appendf(nil, "flood %s %s\n", strings.Repeat("0", 9), strings.Repeat("x", lineSize-17))
	text := bytes.Repeat(template, 1<<20/lineSize)
	begin, line := time.Now(), 0
	for sent := 1; ; sent++ {
		for at := 0; at < len(text); at += lineSize {
			number := text[at+len("flood ") : at+len("flood 000000000")]
			for n, i := line, len(number)-1; i >= 0; n, i = n/10, i-1 {
				number[i] = byte('0' + n%10)
			}
			line++
		}
		if _, err := os.Stdout.Write(text); err != nil {
			os.Exit(1)
		}
		if os.WriteFile(os.Args[2]+".new", []byte(strconv.Itoa(sent)), 0o600) != nil || os.Rename(os.Args[2]+".new", os.Args[2]) != nil {
			os.Exit(1)
		}
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(sent) * time.Second / time.Duration(rate)))) // its pace
		}
	}
}

// counter is a program: it prints numbers, a hundred a second.
func counter() {
	for i := 0; ; i++ {
		fmt.Println("count", i)
		time.Sleep(10 * time.Millisecond) // its pace
	}
}
