"""What a reconstruction is written as: meshes, pictures, and a page that shows them."""
