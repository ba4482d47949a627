package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interrupts are contexts that end with the signals which ask a command to
// end: the first to finish what is under way, the second to leave it. A third
// ends the process at once.
type interrupts struct{ first, second context.Context }

func watchSignals() interrupts {
	ch := make(chan os.Signal, 3)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return follow(ch, os.Exit)
}

// follow ends the contexts as signals come, and then calls exit.
func follow(ch <-chan os.Signal, exit func(code int)) interrupts {
	first, finish := context.WithCancel(context.Background())
	second, leave := context.WithCancel(context.Background())
	go func() {
		<-ch
		finish()
		<-ch
		leave()
		<-ch
		exit(130) // as a shell says of SIGINT
	}()
	return interrupts{first, second}
}
