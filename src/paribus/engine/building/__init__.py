"""What a learner is made from: model, data, objective, optimizer."""
