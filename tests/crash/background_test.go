package crash

func background() []scenario { return nil }
func starts() []scenario     { return nil }
