package s3

import (
	"sync"
	"testing"
)

// TestBuffersGivenBack holds that a buffer that was given back is not looked
// at any more: the next request has it already. It can only fail under -race.
func TestBuffersGivenBack(t *testing.T) {
	t.Parallel()
	d := &dataPath{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 2000 {
				d.giveBack(d.buffer(1 + n%firstPiece))
			}
		})
	}
	wg.Wait()
}
