package catalog

import (
	"fmt"

	"holdfast/tracker"
)

// applyMore gives the rarer commands to their operations. An operation that
// this release does not know is fatal: another voter may know it.
func (b *batch) applyMore(c *command) any {
	switch c.op {
	case opCreateUpload:
		return b.createUpload(c)
	case opPutPart:
		return b.putPart(c)
	case opComplete:
		return b.complete(c)
	case opAbort:
		return b.abort(c)
	case opSwitchShard, opAdoptShard:
		return b.switchShard(c)
	case opRaiseFence, opRaiseTime:
		return b.raise(c)
	case opAddNode:
		return b.addNode(c)
	case opSetNode:
		return b.changeNode(c)
	case opAddGroup:
		return b.addGroup(c)
	case opSweep:
		return b.sweep(c)
	case opDropGarbage:
		return b.dropGarbage(c)
	case opTrimResults:
		if !c.body.done() {
			return tracker.ErrInvalid
		}
		return b.trimResults()
	case opTrimOutcomes:
		return b.trimOutcomes(c)
	case opTrimChanges:
		return b.trimChanges(c)
	case opSetCursor:
		return b.setCursor(c)
	case opSetJob:
		return b.setJob(c)
	case opSetIdentity:
		return b.setIdentity(c)
	case opRaiseLevel:
		return b.raiseLevel(c)
	case opSetTags:
		return b.setTags(c)
	case opSetPolicy:
		return b.setPolicy(c)
	}
	b.fail(fmt.Errorf("operation %d is of a newer release", c.op))
	return nil
}
