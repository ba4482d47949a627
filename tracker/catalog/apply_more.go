package catalog

import "holdfast/tracker"

func (b *batch) applyMore(c *command) any {
	return tracker.ErrInvalid
}
