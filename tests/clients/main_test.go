package clients

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain leaves the clients out of the inner loop: they take minutes.
func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("clients are not run with -short")
		return
	}
	os.Exit(m.Run())
}
