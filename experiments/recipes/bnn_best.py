# BNN, our recipe: weights and hidden activations of one bit. Expected test error: 0.77% (0.71 to 0.83%, three seeds;
# aim: below 0.90%). The best published net of this kind has 0.96%, twice as wide and trained for 1000 epochs.
#
# What it has beyond recipe bnn (LAB's for such nets):
# 1. Training images are moved by up to a pixel, turned, scaled and sheared by up to a tenth, and bent by smooth
#    displacements of a pixel (Simard, Steinkraus, Platt 2003, Best practices for convolutional neural networks
#    applied to visual document analysis, section 2), anew every time.
# 2. 100 epochs; the rate falls by a constant factor an epoch, to a thousandth.
# The epoch is chosen on validation images, which are left as they are.

--method bnn_best
--dataset mnist
--hidden 2048 2048 2048
--batch-size 100
--epochs 100
--loss hinge
--inputs centered
--activation binary
--scale none
--gradient ste
--clip none
--optimizer binaryadam
--initializer lab
--lr 0.005
--lr-end 5e-6
--shift 1
--warp 0.1
--bend 1
