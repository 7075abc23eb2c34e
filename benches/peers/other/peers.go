// Go: prints how many nanoseconds one of a work takes, or how many bytes an idle goroutine does.
// A mailbox is a channel, which always has a bound.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const capacity = 1024

func main() {
	number, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	var figure float64
	switch os.Args[1] {
	case "memory":
		figure = memory(number)
	case "spawn":
		figure = each(spawn, number)
	case "future":
		figure = each(future, number)
	case "ask":
		figure = each(ask, number)
	case "bounded":
		figure = each(bounded, number)
	}
	fmt.Println(figure)
}

// Runs with more and more at a time until that is long enough to tell, and then once for real.
func each(work func(int), milliseconds int) float64 {
	target := time.Duration(milliseconds) * time.Millisecond
	n := 8000
	took := timed(work, n)
	for took < target/8 {
		n *= 4
		took = timed(work, n)
	}
	n = (int(float64(n)*float64(target)/float64(took))/8000 + 1) * 8000
	return float64(timed(work, n)) / float64(n)
}

func timed(work func(int), n int) time.Duration {
	started := time.Now()
	work(n)
	return time.Since(started)
}

func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "VmRSS:" {
			kilobytes, err := strconv.Atoi(fields[1])
			if err != nil {
				panic(err)
			}
			return kilobytes * 1024
		}
	}
	panic("no VmRSS")
}

// Channels are kept. They have no room: each place would be taken from the start.
func memory(n int) float64 {
	mailboxes := make([]chan uint64, 0, n)
	var started sync.WaitGroup
	started.Add(n)
	before := resident()
	for i := 0; i < n; i++ {
		mailbox := make(chan uint64)
		go func() {
			started.Done()
			for range mailbox {
			}
		}()
		mailboxes = append(mailboxes, mailbox)
	}
	started.Wait()
	grown := resident() - before
	runtime.KeepAlive(mailboxes)
	return float64(grown) / float64(n)
}

func spawn(n int) {
	for ; n > 0; n -= 1000 {
		var ended sync.WaitGroup
		ended.Add(1000)
		for i := 0; i < 1000; i++ {
			mailbox := make(chan uint64, 1)
			go func() {
				runtime.KeepAlive(mailbox)
				ended.Done()
			}()
		}
		ended.Wait()
	}
}

func future(n int) {
	for ; n > 0; n -= 1000 {
		var ended sync.WaitGroup
		ended.Add(1000)
		for i := 0; i < 1000; i++ {
			go func() { ended.Done() }()
		}
		ended.Wait()
	}
}

type question struct{ reply chan uint64 }

// One channel for all answers to the one who asks.
func ask(n int) {
	mailbox := make(chan question, capacity)
	go func() {
		answered := uint64(0)
		for asked := range mailbox {
			answered++
			asked.reply <- answered
		}
	}()
	done := make(chan struct{})
	go func() {
		reply := make(chan uint64, 1)
		for i := 1; i <= n; i++ {
			mailbox <- question{reply}
			if <-reply != uint64(i) {
				panic("a wrong answer")
			}
		}
		close(done)
	}()
	<-done
	close(mailbox)
}

func bounded(n int) {
	mailbox := make(chan uint64, capacity)
	for i := 0; i < 8; i++ {
		go func() {
			for nth := 1; nth <= n/8; nth++ {
				mailbox <- uint64(nth)
			}
		}()
	}
	done := make(chan struct{})
	go func() {
		for read := 0; read < n; read++ {
			<-mailbox
		}
		close(done)
	}()
	<-done
}
